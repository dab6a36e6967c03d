"""How often callers may call: one rule as text, and the settings of a predictor that speak of it. `render/` writes them from
`spec.rateLimits`; `moorage.access.limits` obeys them.

    100/minute by=key operation=predict model=cats
"""

import ipaddress
import re
from typing import Final, Literal, NamedTuple, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Per = Literal["second", "minute", "hour", "day"]
By = Literal["caller", "key", "subject", "ip"]
Operation = Literal["predict", "batch", "manage"]
OnStoreFailure = Literal["open", "closed", "local"]

MAX_REQUESTS: Final = 1_000_000_000
SECONDS: Final[dict[Per, int]] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

_RULE: Final = re.compile(r"([1-9][0-9]{0,9})/([a-z]+)((?: [a-z]+=[^ ]+)*)")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class RateRule(NamedTuple):
    """At most `requests` of one caller in any stretch of time as long as `per`."""

    requests: int
    per: Per
    by: By = "caller"
    """Who is counted. See docs/reference/rate-limits.md for those who have no key, or no token."""
    operation: Operation | None = None
    """Which calls are counted; None for all three kinds."""
    model: str | None = None
    """Calls to this model alone; None for all models together."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str(rule)`.

        Raises:
            ValueError: it is no rule; the message says what was expected.
        """
        found = _RULE.fullmatch(text)
        if found is None:
            raise ValueError(f"expected a rule such as '100/minute by=key operation=predict', got {text[:80]!r}")
        requests, per = int(found[1]), _one_of(Per, "unit", found[2])
        if requests > MAX_REQUESTS:
            raise ValueError(f"expected at most {MAX_REQUESTS} requests, got {requests}")
        words = dict(word.split("=", 1) for word in found[3].split())
        if unknown := words.keys() - {"by", "operation", "model"}:
            raise ValueError(f"expected by=, operation= and model= after the rate, got {min(unknown)[:20]}=")
        model = words.get("model")
        if model is not None and not _MODEL.fullmatch(model):
            raise ValueError(f"model: expected the name of a model, got {model[:80]!r}")
        by = _one_of(By, "by", words.get("by", "caller"))
        operation = _one_of(Operation, "operation", words["operation"]) if "operation" in words else None
        return cls(requests, cast(Per, per), cast(By, by), cast("Operation | None", operation), model)

    def __str__(self) -> str:
        """As an option's value."""
        more = {"by": None if self.by == "caller" else self.by, "operation": self.operation, "model": self.model}
        return " ".join([f"{self.requests}/{self.per}", *(f"{name}={value}" for name, value in more.items() if value)])


def _one_of(choices: object, name: str, value: str) -> str:
    known = get_args(choices)
    if value not in known:
        raise ValueError(f"{name}: expected {', '.join(known)}, got {value[:20]!r}")
    return value


class RateLimitSettings(BaseModel):
    """Options of a predictor. Without `rate_limit` nothing is counted and nothing of it is loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_limit: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description="Most calls of one caller, as `100/minute by=key operation=predict model=cats`; all but the rate may be "
        "left out: 429 with Retry-After. May be given several times; all of them hold.",
    )
    rate_limit_redis_url_file: str | None = Field(
        default=None,
        min_length=1,
        description="File with the URL of the Redis that counts for all replicas together. Without it each pod counts for "
        "itself.",
    )
    rate_limit_on_store_failure: OnStoreFailure = Field(
        default="local",
        description="While Redis does not answer: `local` counts in this process, up to its share of each limit; `open` lets "
        "everything through; `closed` answers 503 with Retry-After.",
    )
    rate_limit_store_timeout_ms: float = Field(
        default=40.0,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="How long a call waits for Redis at most, before that counts as no answer; what the event loop needs besides "
        "comes to a few milliseconds more.",
    )
    rate_limit_replicas: int = Field(
        default=1,
        ge=1,
        le=100_000,
        description="How many replicas there are at most: for `local`, each one's share of a limit is one of so many parts.",
    )
    rate_limit_scope: str | None = Field(
        default=None,
        min_length=1,
        max_length=320,
        pattern=r"^[A-Za-z0-9._/-]+$",
        description="Predictors with the same word here count together in one Redis. Without it the name of the model, or "
        "`repository` with --model-repository.",
    )
    rate_limit_socket: str | None = Field(
        default=None,
        min_length=1,
        description="Where the process that started several workers counts for them; set by that process.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        max_length=256,
        description="Addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded-For is believed. May be given several "
        "times. Without it the header is ignored.",
    )
    counted_proof_secret_file: str | None = Field(
        default=None,
        min_length=1,
        description="File with the secret by which the gateway proves that it has counted a call already.",
    )

    @field_validator("rate_limit")
    @classmethod
    def _are_rules(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(RateRule.parse(text)) for text in texts)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError as error:
                raise ValueError(f"expected an address or a network such as 10.0.0.0/8: {error}") from error
        return texts

    @model_validator(mode="after")
    def _are_of_limits(self) -> Self:
        of_limits = (self.rate_limit_redis_url_file, self.counted_proof_secret_file)
        if not self.rate_limit and any(of_limits):
            raise ValueError(
                "expected --rate-limit with --rate-limit-redis-url-file and with --counted-proof-secret-file"
            )
        return self

    @property
    def rate_rules(self) -> tuple[RateRule, ...]:
        """The rules themselves."""
        return tuple(map(RateRule.parse, self.rate_limit))
