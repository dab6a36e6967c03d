"""`spec.health`, `spec.access` and `spec.cache`: what surrounds each request."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.v1alpha1.section import DnsName, Duration, Rule, Section, matching

HttpsUrl = Annotated[
    str,
    Field(max_length=512),
    matching(r"https://[A-Za-z0-9][A-Za-z0-9._~:/%+=,?&-]*", "expected an https:// URL without user or password"),
]
ClaimName = Annotated[str, Field(min_length=1, max_length=253)]


class StartupProbe(Section):
    """How long a pod may take to load its model."""

    period_seconds: int = Field(default=2, ge=1, le=300, description="Seconds between two checks.")
    timeout_seconds: int = Field(default=5, ge=1, le=60, description="Seconds until a check counts as failed.")
    failure_threshold: int = Field(default=300, ge=1, le=10000, description="Failed checks until the pod is restarted.")


class ReadinessProbe(Section):
    """When a pod gets requests: only while its model answers."""

    period_seconds: int = Field(default=5, ge=1, le=300, description="Seconds between two checks.")
    timeout_seconds: int = Field(default=5, ge=1, le=60, description="Seconds until a check counts as failed.")
    failure_threshold: int = Field(
        default=2, ge=1, le=10000, description="Failed checks until the pod gets no requests."
    )


class LivenessProbe(Section):
    """When a pod is restarted: only if its process no longer answers, whatever the model does."""

    period_seconds: int = Field(default=10, ge=1, le=300, description="Seconds between two checks.")
    timeout_seconds: int = Field(default=5, ge=1, le=60, description="Seconds until a check counts as failed.")
    failure_threshold: int = Field(default=6, ge=1, le=10000, description="Failed checks until the pod is restarted.")


class Health(Section):
    """The probes of the predictor container."""

    startup: StartupProbe = Field(
        default_factory=StartupProbe, description="How long a pod may take to load its model."
    )
    readiness: ReadinessProbe = Field(default_factory=ReadinessProbe, description="When a pod gets requests.")
    liveness: LivenessProbe = Field(default_factory=LivenessProbe, description="When a pod is restarted.")


class ApiKeys(Section):
    """Callers with API keys."""

    secret: DnsName = Field(
        description="A Secret of this namespace with the salted hashes of the keys under the key `keys.json`, as `moor keys "
        "manifest` writes it."
    )


class Jwt(Section):
    """Callers with JSON Web Tokens."""

    issuer: HttpsUrl = Field(description="The only accepted `iss`.")
    audience: str = Field(min_length=1, max_length=253, description="The only accepted `aud`.")
    jwks_uri: HttpsUrl = Field(
        description="Where the issuer publishes its public keys. The network policy lets pods reach port 443, and the ports of "
        "the controller's --storage-port."
    )
    algorithms: list[Literal["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"]] | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        description="Accepted signature algorithms; RS256 and ES256 if absent.",
    )
    role: Literal["read", "read-write", "admin"] | None = Field(
        default=None, description="What every good token may do if roleClaim is absent; read-write if this is, too."
    )
    role_claim: ClaimName | None = Field(
        default=None, description="Claim with the role: read, read-write or admin. A token without one is refused."
    )
    models_claim: ClaimName | None = Field(
        default=None, description="Claim with patterns of the models that may be asked."
    )
    subject_claim: ClaimName | None = Field(default=None, description="Claim that says who calls; sub if absent.")
    tenant_claim: ClaimName | None = Field(
        default=None, description="Claim of the tenant, by which limits are counted."
    )


class Access(Section):
    """Who may call."""

    api_keys: ApiKeys | None = Field(default=None, description="Callers with API keys.")
    jwt: Jwt | None = Field(default=None, description="Callers with JSON Web Tokens.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.apiKeys) || has(self.jwt)",
            message="access lets nobody in: set apiKeys, jwt or both, or remove it",
            check=lambda a: a.api_keys is not None or a.jwt is not None,
        ),
    )


class Cache(Section):
    """Answers kept for equal requests to the same model version."""

    ttl: Duration = Field(description="How long an answer is kept, for instance 5m.")
    max_entries: int | None = Field(default=None, ge=1, le=10000000, description="Answers that are kept at most.")
