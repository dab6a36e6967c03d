"""`spec.predictor.tls` and `.tracing` -> settings of the predictor, and what its pods need for them: Secrets, probes that ask
where they are answered, and a way to the collector.

| tls                                  | probes ask              |
|--------------------------------------|-------------------------|
| absent                               | the HTTP port           |
| without authorities, or optional     | the HTTP port, over TLS |
| clients must show a certificate      | the metrics port: the kubelet has none to show |
"""

from typing import Final

from moorage.api.predictor import HTTP_PORT, LIVE_PATH, METRICS_PORT, READY_PATH, ready_path
from moorage.api.v1alpha1 import ModelDeployment
from moorage.api.v1alpha1.transport import port_of
from moorage.render.mounted import Mounted
from moorage.render.names import Manifest
from moorage.render.settings import TRACE_COLLECTOR_LABEL

_CERTIFICATE: Final = "tls.crt"
_KEY: Final = "tls.key"
_AUTHORITIES: Final = "ca.crt"
_HEADERS: Final = "headers"


def tls(deployment: ModelDeployment) -> dict[str, object]:
    """Settings of a pod alone: on a laptop there is no Secret."""
    how = deployment.spec.predictor.tls
    if how is None:
        return {}
    certificate, *authorities = _certificates(deployment)
    found: dict[str, object] = {
        "tls_cert_file": certificate.file(_CERTIFICATE),
        "tls_key_file": certificate.file(_KEY),
    }
    for each in authorities:
        found["tls_client_ca_file"] = each.file(_AUTHORITIES)
        if how.client_auth is not None:
            found["tls_client_auth"] = how.client_auth
    return found


def tracing(deployment: ModelDeployment) -> dict[str, object]:
    """Settings that hold in a pod and on a laptop."""
    how = deployment.spec.predictor.tracing
    if how is None:
        return {}
    rate = {} if how.sample_rate is None else {"otel_sample_rate": how.sample_rate}
    return {"otel_endpoint": how.endpoint, **rate}


def trace_headers(deployment: ModelDeployment) -> dict[str, object]:
    """Settings of a pod alone, as of `tls`."""
    headers = _headers(deployment)
    return {"otel_headers_file": headers[0].file(_HEADERS)} if headers else {}


def secrets(deployment: ModelDeployment) -> list[Mounted]:
    """The certificate, clients' authorities and the collector's headers, as far as there are any."""
    return [*_certificates(deployment), *_headers(deployment)]


def _certificates(deployment: ModelDeployment) -> list[Mounted]:
    how = deployment.spec.predictor.tls
    if how is None:
        return []
    found = [Mounted("tls", how.secret_name, (_CERTIFICATE, _KEY))]
    if how.client_ca_secret_name is not None:
        found.append(Mounted("tls-client-ca", how.client_ca_secret_name, (_AUTHORITIES,)))
    return found


def _headers(deployment: ModelDeployment) -> list[Mounted]:
    how = deployment.spec.predictor.tracing
    return (
        [] if how is None or how.headers_secret is None else [Mounted("trace-headers", how.headers_secret, (_HEADERS,))]
    )


def probed_port(deployment: ModelDeployment) -> int:
    """Where the kubelet asks."""
    how = deployment.spec.predictor.tls
    return METRICS_PORT if how is not None and how.demands_certificates else HTTP_PORT


def probes(deployment: ModelDeployment) -> tuple[Manifest, Manifest]:
    """Where the kubelet asks whether the model answers, and whether the process lives."""
    port = probed_port(deployment)
    path = ready_path(deployment.model_name) if port == HTTP_PORT else READY_PATH
    scheme = "HTTPS" if port == HTTP_PORT and deployment.spec.predictor.tls is not None else "HTTP"
    ready = {"path": path, "port": port, "scheme": scheme}
    return ready, {**ready, "path": LIVE_PATH}


def egress(deployment: ModelDeployment, outside: list[Manifest], ports: tuple[int, ...]) -> list[Manifest]:
    """To collectors: pods that carry our label, whose owner thereby lets spans come, on any port; and addresses out of the cluster,
    on the `ports` that the administrator has opened."""
    how = deployment.spec.predictor.tracing
    if how is None:
        return []
    port = port_of(how.endpoint)
    labelled = {"namespaceSelector": {}, "podSelector": {"matchLabels": {TRACE_COLLECTOR_LABEL: "true"}}}
    to = [labelled, *(outside if port in ports else [])]
    return [{"to": to, "ports": [{"protocol": "TCP", "port": port}]}]
