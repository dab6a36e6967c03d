"""Why a caller is turned away. Raised by `gate.py` and the rate limits; each server answers in its protocol's own shape.

AccessError
├── ConfigurationError     at the start: what was given cannot work. The only one that is not about a request
├── Unauthenticated        401 / UNAUTHENTICATED
├── Forbidden              403 / PERMISSION_DENIED
└── StoreAway              503 / UNAVAILABLE
"""

# ruff: noqa: N818 - named for the answers that they become

from typing import ClassVar, Final

Headers = tuple[tuple[bytes, bytes], ...]

CHALLENGE: Final = b'Bearer realm="moorage"'
"""The same whatever was wrong: RFC 6750's `error="invalid_token"` would tell the unknown from the malformed."""


class AccessError(Exception):
    """The root. `str(error)` is one line for the caller and holds nothing that the caller sent."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"
    """Stands in the body, and is the name of gRPC's status."""
    headers: Headers = ()
    """To be added to the answer."""


class ConfigurationError(AccessError):
    """For those who run the server: which setting, what was expected, what was found."""


class Unauthenticated(AccessError):
    """No credentials, or none that are good. The text is the same for all of them."""

    status = 401
    code = "UNAUTHENTICATED"
    headers = ((b"www-authenticate", CHALLENGE),)


class Forbidden(AccessError):
    """The caller is known and may not do this."""

    status = 403
    code = "PERMISSION_DENIED"


class StoreAway(AccessError):
    """A key that no store knows as good, and one is a Redis that has not answered for longer than keys are remembered."""

    status = 503
    code = "UNAVAILABLE"
