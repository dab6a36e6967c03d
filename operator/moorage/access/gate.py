"""Who calls, and may they? One for each process; made from the settings by the server, asked by `asgi.py` and by gRPC.

known(headers)           credentials that were good a moment ago: one hash and one look into a dictionary
  └── authenticate()     else the stores and the signature are asked
permit(principal, ...)   the role, then the model
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from moorage.access import keys
from moorage.access.errors import ConfigurationError, Forbidden, StoreAway, Unauthenticated
from moorage.access.principal import ROLES, Principal, Role
from moorage.access.redis_url import read_url
from moorage.access.stores import Store, file, folder
from moorage.api.access import AccessSettings

if TYPE_CHECKING:
    from moorage.access.tokens import Tokens

_log = logging.getLogger(__name__)

REMEMBER_S: Final = 1.0
"""A verified key is not compared with its hash again for so long."""
_MOST_REMEMBERED: Final = 4096
_LONGEST: Final = 16 * 1024 + 16
_BEARER: Final = b"bearer "
_AUTHORIZATION: Final = b"authorization"
_KEY_PREFIX: Final = keys.PREFIX.encode()


class Gate:
    """Authenticates and authorises."""

    def __init__(self, settings: AccessSettings) -> None:
        """Read files; nothing is asked over the network yet.

        Raises:
            ConfigurationError: a store cannot be read, or a package is missing.
        """
        self.key_header = settings.access_key_header.encode()
        self._headers = frozenset((self.key_header, _AUTHORIZATION))
        self._stores = _stores(settings)
        self._tokens: Tokens | None = None
        if settings.jwt_issuer is not None:
            self._tokens = _tokens(settings)
        self._nobody = keys.nobody()
        self._verified: dict[bytes, tuple[float, Principal]] = {}
        self.denied: Callable[[str], None] = lambda reason: None
        """Told the reason, one of a few words, by who turns a caller away; for whoever counts."""
        accepted = []
        if self._stores:
            accepted.append(f"an API key in {settings.access_key_header} or as Authorization: Bearer {keys.PREFIX}...")
        if self._tokens:
            accepted.append("a token as Authorization: Bearer ...")
        self._expected = f"expected {', or '.join(accepted)}"

    def known(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """The caller, if these headers' credentials have been verified a moment ago. Names are in lower case."""
        hidden, presented = self._headers, None
        for header in headers:
            if header[0] in hidden:
                if presented is not None:
                    return None
                presented = b":".join(header)
        if presented is None:
            return None
        found = self._verified.get(keys.digest(presented))
        return found[1] if found is not None and found[0] > time.time() else None

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """The caller.

        Raises:
            Unauthenticated: no credentials, several different ones, or none that are good.
            StoreAway: keys are in a Redis that has been away for too long, and no other store says that this one is good.
        """
        presented = [(name, value) for name, value in headers if name in self._headers]
        stripped = {_credentials(name, value) for name, value in presented}
        if len(stripped) != 1 or (credentials := stripped.pop()) is None:
            raise Unauthenticated(self._expected)
        bearer = presented[0][0] == _AUTHORIZATION
        if self._tokens is not None and bearer and not credentials.startswith(_KEY_PREFIX):
            principal, until = await self._token(credentials)
        else:
            principal, until = await self._key(credentials)
        if len(presented) == 1:
            if len(self._verified) >= _MOST_REMEMBERED:
                self._verified.clear()
            self._verified[keys.digest(b":".join(presented[0]))] = until, principal
        return principal

    def permit(self, principal: Principal, role: Role, model: str | None) -> None:
        """Nothing, if this caller may do what needs that role, with that model.

        Raises:
            Forbidden: the role is not enough, or the model is none of the caller's.
        """
        if not principal.may(role):
            raise Forbidden(f"expected role {' or '.join(ROLES[ROLES.index(role) :])}, the caller has {principal.role}")
        if model is not None and not principal.may_ask(model):
            raise Forbidden("the caller may not ask this model")

    def without_credentials(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Headers as the application gets them."""
        hidden = self._headers
        return [header for header in headers if header[0] not in hidden]

    async def close(self) -> None:
        """Let go of connections."""
        for store in self._stores:
            await store.close()
        if self._tokens is not None:
            await self._tokens.keys.close()

    async def _key(self, presented: bytes) -> tuple[Principal, float]:
        now = time.monotonic()
        for store in self._stores:
            if not store.fresh(now):
                await store.refresh()
        key_id, secret = keys.split(presented) or ("", b"")
        found, away = None, False
        for store in self._stores:
            if store.away:
                away = True
            else:
                found = found or store.verifiers.get(key_id)
        now = time.time()
        until = (found or self._nobody).good_until(secret, now)
        if found is not None and until:
            return found.principal, min(until, now + REMEMBER_S)
        if away and secret:  # whatever another store says of it, so that nobody learns which ids exist
            raise StoreAway("the store of keys does not answer; try again")
        raise Unauthenticated(self._expected)

    async def _token(self, presented: bytes) -> tuple[Principal, float]:
        from moorage.access.tokens import InvalidTokenError

        try:
            return await self._tokens.verify(presented)  # type: ignore[union-attr]  # the caller has looked
        except InvalidTokenError as error:
            _log.debug("a token was refused", extra={"reason": str(error)})
            raise Unauthenticated(self._expected) from None


def _credentials(name: bytes, value: bytes) -> bytes | None:
    """The key or token of such a header; None for another scheme than Bearer, and nothing for what is too long to be one."""
    if len(value) > _LONGEST:
        return b""
    if name != _AUTHORIZATION:
        return value
    return value[len(_BEARER) :].strip(b" ") if value[: len(_BEARER)].lower() == _BEARER else None


def _stores(settings: AccessSettings) -> tuple[Store, ...]:
    made: list[Store] = []
    if settings.access_keys_file is not None:
        made.append(file(settings.access_keys_file))
    if settings.access_keys_dir is not None:
        made.append(folder(settings.access_keys_dir))
    url = settings.access_keys_redis_url
    if settings.access_keys_redis_url_file is not None:
        url = read_url("--access-keys-redis-url-file", settings.access_keys_redis_url_file)
    if url is not None:
        from moorage.access.redis_store import RedisStore

        made.append(RedisStore(url))
    return tuple(made)


def _tokens(settings: AccessSettings) -> "Tokens":
    try:
        from moorage.access.tokens import Tokens
    except ModuleNotFoundError as error:
        raise ConfigurationError("--jwt-issuer: pip install 'moorage[access]' first") from error
    return Tokens(settings)
