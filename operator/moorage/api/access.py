"""Who may call a server: the settings of `moorage.access`, which are options of the predictor and will be of the gateway."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

KEYS_DIR: Final = "/etc/moorage/access-keys"
"""Where a pod has the Secret of `spec.access.apiKeys`."""
KEYS_FILE: Final = "keys.json"
"""The key of that Secret, as `moor keys manifest` writes it, and the file's name."""
ACCESS_FROM_ENV: Final = {"access_keys_redis_url": "MOORAGE_ACCESS_KEYS_REDIS_URL"}
"""A password may be in it, and every process of a machine sees the others' argv."""

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""None of them has a secret that both sides know."""


class AccessSettings(BaseModel):
    """Without any of them, whoever reaches the server may do everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access_keys_file: str | None = Field(
        default=None, min_length=1, description="A JSON or YAML file of API keys, as `moor keys` writes it."
    )
    access_keys_dir: str | None = Field(
        default=None, min_length=1, description="A folder of such files: a mounted Secret."
    )
    access_keys_redis_url_file: str | None = Field(
        default=None, min_length=1, description="A file with the URL of a Redis that holds API keys."
    )
    access_keys_redis_url: str | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="That URL itself; only as a variable, because of its password.",
    )
    access_key_header: str = Field(
        default="x-api-key",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Header, and gRPC metadata, with the API key, in lower case. `Authorization: Bearer mk_...` is always taken as well.",
    )
    jwt_issuer: str | None = Field(
        default=None, min_length=1, max_length=512, description="The only accepted `iss`. With it tokens are accepted."
    )
    jwt_audience: str | None = Field(default=None, min_length=1, max_length=253, description="The only accepted `aud`.")
    jwt_jwks_url: str | None = Field(
        default=None, min_length=1, max_length=512, description="https URL of the issuer's public keys."
    )
    jwt_jwks_file: str | None = Field(default=None, min_length=1, description="A file with them instead.")
    jwt_algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256", "ES256"),
        min_length=1,
        description="An accepted signature algorithm. May be given several times.",
    )
    jwt_leeway_s: float = Field(
        default=30.0, ge=0, le=60, allow_inf_nan=False, description="How far the issuer's clock may be off."
    )
    jwt_subject_claim: str = Field(
        default="sub", min_length=1, max_length=253, description="Claim that says who calls; counted and logged."
    )
    jwt_role: Literal["read", "read-write", "admin"] = Field(
        default="read-write", description="What every good token may do, where no claim says it."
    )
    jwt_role_claim: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Claim with the role: a word or a list, `moorage:` may stand before. A token without one is refused.",
    )
    jwt_models_claim: str | None = Field(
        default=None, min_length=1, max_length=253, description="Claim with the models, as patterns. Without it all."
    )
    jwt_tenant_claim: str | None = Field(
        default=None, min_length=1, max_length=253, description="Claim of the tenant, by which limits are counted."
    )

    @model_validator(mode="after")
    def _tokens_are_configured_as_a_whole(self) -> Self:
        if self.jwt_issuer is None:
            if self.jwt_audience or self.jwt_jwks_url or self.jwt_jwks_file:
                raise ValueError("expected --jwt-issuer with --jwt-audience, --jwt-jwks-url and --jwt-jwks-file")
        elif self.jwt_audience is None or (self.jwt_jwks_url is None) == (self.jwt_jwks_file is None):
            raise ValueError("expected --jwt-audience and one of --jwt-jwks-url and --jwt-jwks-file with --jwt-issuer")
        return self

    @model_validator(mode="after")
    def _the_key_has_a_header_of_its_own(self) -> Self:
        if self.access_key_header in ("authorization", "cookie", "host", "content-type", "content-length"):
            raise ValueError(f"--access-key-header: {self.access_key_header} has another meaning already")
        return self

    @model_validator(mode="after")
    def _one_redis(self) -> Self:
        if self.access_keys_redis_url and self.access_keys_redis_url_file:
            raise ValueError("expected one of --access-keys-redis-url-file and MOORAGE_ACCESS_KEYS_REDIS_URL")
        return self

    @property
    def controls_access(self) -> bool:
        """Whether callers must say who they are."""
        return any(
            (
                self.access_keys_file,
                self.access_keys_dir,
                self.access_keys_redis_url_file,
                self.access_keys_redis_url,
                self.jwt_issuer,
            )
        )
