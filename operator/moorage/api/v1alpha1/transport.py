"""`spec.predictor.tls` and `spec.predictor.tracing`: how requests come in, and where is told what became of them."""

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from moorage.api.v1alpha1.section import DnsName, Rule, Section, matching
from moorage.api.v1alpha1.tasks import Share

_PORT: Final = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_URL: Final = rf"https?://([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:{_PORT})?(/[A-Za-z0-9._~/-]*)?"
OtlpEndpoint = Annotated[
    str,
    Field(max_length=512),
    matching(
        _URL,
        "expected an http:// or https:// URL without user or password and with a port from 1 to 65535 if any, for instance http://otel-collector.monitoring:4318",
    ),
]


def port_of(endpoint: str) -> int:
    """The port that an `OtlpEndpoint` names, or its scheme's."""
    found = re.fullmatch(_URL, endpoint)
    stated = found and found[2]
    return int(stated[1:]) if stated else 443 if endpoint.startswith("https:") else 80


class Tls(Section):
    """The certificates of the HTTP and the gRPC port, which then speak nothing but TLS."""

    secret_name: DnsName = Field(
        description="A Secret of this namespace of type kubernetes.io/tls, as cert-manager writes it: `tls.crt` and `tls.key`. A "
        "renewed certificate is taken up without a restart."
    )
    client_ca_secret_name: DnsName | None = Field(
        default=None,
        description="A Secret of this namespace with the authorities of clients' certificates under the key `ca.crt`: clients must "
        "show one (mTLS).",
    )
    client_auth: Literal["require", "optional"] | None = Field(
        default=None,
        description="`optional`: a client may come without a certificate, but not with one of another authority; gRPC then asks "
        "for none. If absent clients must show one.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.clientAuth) || has(self.clientCaSecretName)",
            message="clientAuth says who must show a certificate, and no authority is named: add clientCaSecretName or remove it",
            check=lambda tls: tls.client_auth is None or tls.client_ca_secret_name is not None,
        ),
    )

    @property
    def demands_certificates(self) -> bool:
        """Whether nobody gets an answer without a certificate, the kubelet included."""
        return self.client_ca_secret_name is not None and self.client_auth != "optional"


class Tracing(Section):
    """Traces for OpenTelemetry, sent over OTLP (HTTP, protobuf)."""

    endpoint: OtlpEndpoint = Field(
        description="Base URL of the collector, without /v1/traces. The network policy lets pods reach collectors with the label "
        "moorage.dev/trace-collector."
    )
    headers_secret: DnsName | None = Field(
        default=None,
        description="A Secret of this namespace whose key `headers` has what the collector asks for, such as "
        "`authorization=Bearer%20TOKEN`: NAME=VALUE,NAME=VALUE, as in OTEL_EXPORTER_OTLP_HEADERS. Pods read it when they start.",
    )
    sample_rate: Share | None = Field(
        default=None,
        description="Which share of the requests is recorded where their callers have not decided it; all without it.",
    )
