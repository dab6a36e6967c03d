"""TLS and traces in pods and on a laptop. The objects themselves are a golden case."""

from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.render import NetworkSettings, RenderSettings, local_settings, predictor_settings, render

TLS = {"secretName": "cats-tls"}


def container(**predictor: Any) -> dict[str, Any]:
    [runtime] = [each for each in render(model_deployment(predictor=predictor)) if each["kind"] == "ServingRuntime"]
    found: dict[str, Any] = runtime["spec"]["containers"][0]
    return found


def policy(settings: RenderSettings | None = None, **predictor: Any) -> dict[str, Any]:
    objects = render(model_deployment(predictor=predictor), settings)
    found: dict[str, Any] = next(each for each in objects if each["kind"] == "NetworkPolicy")["spec"]
    return found


@pytest.mark.parametrize(
    ("tls", "port", "scheme"),
    [
        (None, 8080, "HTTP"),
        (TLS, 8080, "HTTPS"),
        ({**TLS, "clientCaSecretName": "ca", "clientAuth": "optional"}, 8080, "HTTPS"),
        ({**TLS, "clientCaSecretName": "ca"}, 8082, "HTTP"),
    ],
)
def test_probes_ask_where_the_kubelet_gets_an_answer(tls: Any, port: int, scheme: str) -> None:
    made = container(**({"tls": tls} if tls else {}))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = made[probe]["httpGet"]
        assert (asked["port"], asked["scheme"]) == (port, scheme)
    settings = RenderSettings(network=NetworkSettings(node_cidrs=("10.0.0.0/8",)))
    nodes = policy(settings, **({"tls": tls} if tls else {}))["ingress"][-1]
    assert nodes["ports"] == [{"protocol": "TCP", "port": port}]


def test_a_laptop_has_no_secret_and_stays_plain() -> None:
    deployment = model_deployment(predictor={"tls": {**TLS, "clientCaSecretName": "ca", "clientAuth": "optional"}})
    pod, local = predictor_settings(deployment), local_settings(deployment)
    assert (pod.tls_cert_file, pod.tls_key_file) == ("/etc/moorage/tls/tls.crt", "/etc/moorage/tls/tls.key")
    assert (pod.tls_client_ca_file, pod.tls_client_auth) == ("/etc/moorage/tls-client-ca/ca.crt", "optional")
    assert (local.tls_cert_file, local.tls_client_ca_file) == (None, None)


def test_traces_are_sent_from_a_laptop_as_from_a_pod() -> None:
    deployment = model_deployment(predictor={"tracing": {"endpoint": "http://collector:4318", "sampleRate": 0.1}})
    for settings in (predictor_settings(deployment), local_settings(deployment)):
        assert (settings.otel_endpoint, settings.otel_sample_rate) == ("http://collector:4318", 0.1)
    assert predictor_settings(model_deployment()).otel_endpoint is None


def test_a_collectors_headers_are_mounted_into_pods_and_a_laptop_has_none() -> None:
    tracing = {"endpoint": "http://collector:4318", "headersSecret": "collector"}
    deployment = model_deployment(predictor={"tracing": tracing})
    assert predictor_settings(deployment).otel_headers_file == "/etc/moorage/trace-headers/headers"
    assert local_settings(deployment).otel_headers_file is None
    [mount] = [each for each in container(tracing=tracing)["volumeMounts"] if each["name"] == "trace-headers"]
    assert mount == {"name": "trace-headers", "mountPath": "/etc/moorage/trace-headers", "readOnly": True}


def test_out_of_the_cluster_spans_go_by_ports_that_the_administrator_has_opened() -> None:
    [*_, way] = policy(tracing={"endpoint": "https://collector.example"})["egress"]
    assert [next(iter(to)) for to in way["to"]] == ["namespaceSelector", "ipBlock", "ipBlock"]
    assert way["ports"] == [{"protocol": "TCP", "port": 443}]


@pytest.mark.parametrize(
    ("endpoint", "port"), [("http://collector:4318", 4318), ("http://collector/x", 80), ("http://[::1]:7", 7)]
)
def test_the_way_out_is_to_labelled_collectors_alone(endpoint: str, port: int) -> None:
    [*_, way] = policy(tracing={"endpoint": endpoint})["egress"]
    assert way["ports"] == [{"protocol": "TCP", "port": port}]
    [to] = way["to"]
    assert to["podSelector"] == {"matchLabels": {"moorage.dev/trace-collector": "true"}}
