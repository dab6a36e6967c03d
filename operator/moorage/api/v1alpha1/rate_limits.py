"""`spec.rateLimits` and `spec.rateLimiting`: how often callers may call, and where that is counted."""

import ipaddress
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from moorage.api.v1alpha1.section import DnsName, Obeys, Rule, Section, matching

_NETWORK: Final = re.compile(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return _NETWORK.fullmatch(text) is not None


Network = Annotated[
    str,
    Field(max_length=43),
    Obeys(
        Rule("isIP(self) || isCIDR(self)", "expected an address or a network such as 10.0.0.0/8", _is_network, "string")
    ),
]


class RateLimit(Section):
    """At most so many calls of one caller in any stretch of time as long as the window."""

    requests: int = Field(ge=1, le=1000000000, description="Calls that are let through in one window.")
    per: Literal["second", "minute", "hour", "day"] = Field(description="Length of the window.")
    by: Literal["key", "subject", "ip"] | None = Field(
        default=None,
        description="Who is counted: the API key or its tenant, the JWT's subject, or the client's address. If absent the "
        "caller, by whichever of them it has.",
    )
    operation: Literal["predict", "batch", "manage"] | None = Field(
        default=None,
        description="Which calls are counted: predictions, those of them with several rows, or the rest. All if absent.",
    )
    model: (
        Annotated[
            str,
            Field(max_length=63),
            matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "expected the name of a model: letters, digits, '.', '_' and '-'"),
        ]
        | None
    ) = Field(default=None, description="Calls to this model alone.")


class RateLimiting(Section):
    """Where calls are counted, and what is believed of them."""

    redis_url_secret: DnsName | None = Field(
        default=None,
        description="A Secret of this namespace with the URL of a Redis under the key `url`; all replicas count there together. "
        "If absent each pod counts for itself.",
    )
    on_store_failure: Literal["open", "closed", "local"] = Field(
        default="local",
        description="While Redis does not answer: `local` counts in each process, up to its share; `open` lets everything "
        "through; `closed` answers 503.",
    )
    trusted_proxies: list[Network] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Proxies whose X-Forwarded-For is believed.",
    )
    counted_proof_secret: DnsName | None = Field(
        default=None,
        description="A Secret of this namespace that the gateway has, too, under the key `secret`: by it the gateway proves that "
        "it has counted a call.",
    )


RateLimits = Annotated[list[RateLimit], Field(min_length=1, max_length=16)]


def _rules_are_there(spec: Any) -> bool:
    return spec.rate_limiting is None or spec.rate_limits is not None


RATE_LIMIT_RULES: Final = (
    Rule(
        cel="!has(self.rateLimiting) || has(self.rateLimits)",
        message="rateLimiting says how rateLimits are counted, and there are none: add rateLimits or remove it",
        check=_rules_are_there,
    ),
)
