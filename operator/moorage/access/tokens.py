"""JSON Web Tokens: whether one is good, and whose it is. Called by `gate.py`; imported only where tokens are accepted.

pyjwt checks the signature, `exp`, `nbf`, `iat`, `iss` and `aud`. What it is asked for is narrowed here first: the algorithm by
the configuration and by the type of the issuer's key, the header to what is understood, and each name to one value.
"""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import jwt
from jwt.exceptions import PyJWTError

from moorage.access.jwks import KeySet
from moorage.access.principal import ROLES, Principal, Role
from moorage.api.access import AccessSettings

MAX_BYTES: Final = 16 * 1024
"""Of a token. Longer ones are not looked at."""
REMEMBER_S: Final = 60.0
"""A verified token is not verified again for so long: a key that its issuer has withdrawn still counts until then."""
_MAX_KID: Final = 256
_MAX_SUBJECT: Final = 256
_PREFIX: Final = "moorage:"


class InvalidTokenError(Exception):
    """This token is not good. Why stays here: callers get one answer for all of them."""


class Tokens:
    """The tokens of one issuer."""

    def __init__(self, settings: AccessSettings) -> None:
        """Raises:
        ConfigurationError: the key set cannot be used.
        """
        self._settings = settings
        self._algorithms = frozenset(settings.jwt_algorithms)
        self.keys = KeySet(url=settings.jwt_jwks_url, file=settings.jwt_jwks_file)

    async def verify(self, token: bytes) -> tuple[Principal, float]:
        """The caller, and until when (Unix seconds) that may be remembered.

        Raises:
            InvalidTokenError: for any reason.
        """
        if len(token) > MAX_BYTES:
            raise InvalidTokenError("too long")
        header, claims = _parts(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        # None of pyjwt's own judgement is needed for what is not understood here, or what a token wants to choose itself.
        if "crit" in header or "b64" in header or not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise InvalidTokenError("header")
        if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID):
            raise InvalidTokenError("kid")
        key = await self.keys.find(kid, algorithm)
        if key is None:
            raise InvalidTokenError("key")
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=settings.jwt_leeway_s,
                options={"require": ["exp", "iss", "aud"], "verify_sub": False},
            )
            expires = float(claims["exp"]) + settings.jwt_leeway_s
        except (PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise InvalidTokenError(type(error).__name__) from None
        return self._principal(claims), min(expires, time.time() + REMEMBER_S)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        settings = self._settings
        subject = _claim(claims, settings.jwt_subject_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise InvalidTokenError("subject")
        role: Role = settings.jwt_role
        if settings.jwt_role_claim:
            role = _highest(_words(_claim(claims, settings.jwt_role_claim)))
        models = None
        if settings.jwt_models_claim:
            models = _words(_claim(claims, settings.jwt_models_claim))
        tenant = None
        if settings.jwt_tenant_claim:
            tenant = _claim(claims, settings.jwt_tenant_claim)
            if not isinstance(tenant, str) or not 0 < len(tenant) <= _MAX_SUBJECT or not tenant.isprintable():
                raise InvalidTokenError("tenant")
        return Principal(subject, "jwt", role, models, (), tenant)


def _parts(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not verified yet, each name once."""
    pieces = token.split(b".")
    if len(pieces) != 3:
        raise InvalidTokenError("parts")
    return _object(pieces[0]), _object(pieces[1])


def _object(encoded: bytes) -> dict[str, Any]:
    try:
        text = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        parsed = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError("encoding") from error
    if not isinstance(parsed, dict):
        raise InvalidTokenError("object")
    return parsed


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise InvalidTokenError("a name is there twice")  # one parser takes the first, another the last
    return made


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that very name, as `https://example.com/role`; else the way into nested ones, as `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _words(value: Any) -> tuple[str, ...]:
    """A list of texts, or one text of words as `scope` is."""
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _highest(words: tuple[str, ...]) -> Role:
    """Of the roles among them, with or without `moorage:` before; other words are other applications'."""
    held = {word.removeprefix(_PREFIX) for word in words}
    for role in reversed(ROLES):
        if role in held:
            return role
    raise InvalidTokenError("role")
