"""ModelDeployment -> the `PredictorSettings` of its pods, or of the one process of `moor up`."""

from moorage.api.access import KEYS_DIR
from moorage.api.predictor import METRICS_PORT, MODEL_DIR, PredictorSettings
from moorage.api.v1alpha1 import ModelDeployment
from moorage.api.v1alpha1.section import seconds
from moorage.render.rate_limits import rate_limiting, rate_limits
from moorage.render.storage import source
from moorage.render.task_options import task_options
from moorage.render.transport import tls, trace_headers, tracing

TERMINATION_LOG = "/dev/termination-log"
DRAIN_DELAY_S = 5.0
"""After the endpoints have forgotten the pod: connections that proxies keep open end with an answer, not under a request."""
SHUTDOWN_GRACE_S = 20.0


def predictor_settings(deployment: ModelDeployment) -> PredictorSettings:
    """The settings of a pod: it listens on all its addresses, because its network policy is what keeps others out."""
    uri = deployment.spec.model.storage_uri
    initialized = uri is not None and source(uri).by_initializer
    return _settings(
        deployment,
        model_dir=MODEL_DIR if initialized else None,
        storage_uri=None if initialized else uri,
        access_keys_dir=KEYS_DIR if has_api_keys(deployment) else None,
        **rate_limiting(deployment),
        **tls(deployment),
        **trace_headers(deployment),
        metrics_port=METRICS_PORT,
        request_log=deployment.spec.predictor.request_log or "all",
        host="0.0.0.0",  # noqa: S104 - see the docstring
        termination_log=TERMINATION_LOG,
        drain_delay_s=DRAIN_DELAY_S,
        shutdown_grace_s=SHUTDOWN_GRACE_S,
    )


def local_settings(deployment: ModelDeployment, **surroundings: object) -> PredictorSettings:
    """The settings of a process on this machine: the same model settings, the caller's ports, folders and host.

    Raises:
        pydantic.ValidationError: a value of `surroundings` is out of bounds.
    """
    return _settings(deployment, storage_uri=deployment.spec.model.storage_uri, **surroundings)


def has_api_keys(deployment: ModelDeployment) -> bool:
    """Whether callers may have API keys."""
    access = deployment.spec.access
    return access is not None and access.api_keys is not None


def _tokens(deployment: ModelDeployment) -> dict[str, object]:
    """Where JSON Web Tokens come from that are accepted."""
    jwt = deployment.spec.access and deployment.spec.access.jwt
    if not jwt:
        return {}
    stated = {
        "jwt_issuer": jwt.issuer,
        "jwt_audience": jwt.audience,
        "jwt_jwks_url": jwt.jwks_uri,
        "jwt_algorithms": jwt.algorithms and tuple(jwt.algorithms),
        "jwt_role": jwt.role,
        "jwt_role_claim": jwt.role_claim,
        "jwt_models_claim": jwt.models_claim,
        "jwt_subject_claim": jwt.subject_claim,
        "jwt_tenant_claim": jwt.tenant_claim,
    }
    return {name: value for name, value in stated.items() if value is not None}


def _settings(deployment: ModelDeployment, **surroundings: object) -> PredictorSettings:
    model, batching = deployment.spec.model, deployment.spec.predictor.batching
    stated = {
        "allow_unsafe_formats": model.allow_unsafe_formats,
        "trusted_type": model.trusted_types and tuple(model.trusted_types),
        "runtime": deployment.spec.predictor.runtime,
        "precision": deployment.spec.predictor.precision,
        "request_log": deployment.spec.predictor.request_log,
        "max_batch_size": batching and batching.max_batch_size,
        "max_queue_delay_ms": batching and batching.max_queue_delay and 1000 * seconds(batching.max_queue_delay),
        "max_queue_size": batching and batching.max_queue_size,
    }
    return PredictorSettings.model_validate(
        {
            "model_name": deployment.model_name,
            "model_version": model.version,
            "task": model.class_ or model.task,
            "architecture": model.architecture,
            "sha256": model.sha256,
            **{name: value for name, value in stated.items() if value is not None},
            **task_options(model),
            **_tokens(deployment),
            **rate_limits(deployment),
            **tracing(deployment),
            **surroundings,
        }
    )
