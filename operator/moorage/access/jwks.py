"""The public keys that tokens are verified with: a JSON Web Key Set from one URL or one file, both from the configuration.
Used by `tokens.py`. Nothing that a token says decides where keys come from.
"""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from moorage.access.errors import ConfigurationError
from moorage.api import regular_file
from moorage.api.apart import apart

_log = logging.getLogger(__name__)

LOOK_S: Final = 300.0
"""How often the set is fetched anew."""
UNKNOWN_S: Final = 60.0
"""At most so often it is fetched because a token names a key that is not in it."""
RETRY_S: Final = 5.0
"""After a failed fetch."""
KEEP_S: Final = 3600.0
"""How long known keys go on working while the set cannot be had."""
FETCH_S: Final = 5.0
"""For the whole of one fetch."""
READ_S: Final = 0.5
"""How long callers wait for the file, from when its reading began. A mount may hang; nothing ends the reading then."""
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 64
_LEAST_RSA_BITS: Final = 2048
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE: Final = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key, and the only algorithms that it may be used with: those of its type."""

    kid: str | None
    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The keys of one issuer, kept up to date by those who ask."""

    def __init__(self, *, url: str | None, file: str | None) -> None:
        """From exactly one of them. A file is read now; a URL is fetched when the first token comes.

        Raises:
            ConfigurationError: the file cannot be read or has no key that can be used; or the URL is not https, where
                only http to this machine itself may do without.
        """
        self._file = Path(file) if file else None
        self._url = url
        if url is not None:
            _check_url(url)
        self._keys: tuple[PublicKey, ...] = ()
        self._read_at: float | None = None
        self._next_look = 0.0
        self._next_unknown = 0.0
        self._wait_until = 0.0
        self._fetching: asyncio.Task[None] | None = None
        if self._file is not None:
            self._keys = public_keys(_bytes_of(self._file), str(self._file))
            self._read_at = time.monotonic()
            self._next_look = self._read_at + LOOK_S

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key for such a header; a token without `kid` means the only key that fits."""
        now = time.monotonic()
        if now >= self._next_look:
            await self._renew(wait=not self._usable(now))
        found = self._lookup(kid, algorithm)
        if found is None and self._usable(now := time.monotonic()) and now >= self._next_unknown:
            self._next_unknown = now + UNKNOWN_S
            await self._renew(wait=True)
            found = self._lookup(kid, algorithm)
        return found

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()

    def _usable(self, now: float) -> bool:
        return self._read_at is not None and now - self._read_at <= KEEP_S

    def _lookup(self, kid: str | None, algorithm: str) -> PublicKey | None:
        if not self._usable(time.monotonic()):
            return None
        fits = [key for key in self._keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
        return fits[0] if len(fits) == 1 else None

    async def _renew(self, *, wait: bool) -> None:
        """One fetch at a time, whoever asks; those who have keys do not wait for it, and nobody for one that hangs."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
            self._wait_until = time.monotonic() + (FETCH_S if self._url else READ_S)
        if wait:
            await asyncio.wait([self._fetching], timeout=max(0.0, self._wait_until - time.monotonic()))

    async def _fetch(self) -> None:
        where = str(self._file or self._url)
        try:
            data = await self._download() if self._url else await self._read()
            keys = public_keys(data, where)
        except Exception as error:  # noqa: BLE001 - a caller must get a 401, whatever the issuer's server does
            self._next_look = time.monotonic() + RETRY_S
            reason = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
            _log.warning("the issuer's keys were not read", extra={"reason": reason})
            return
        self._keys = keys
        self._read_at = time.monotonic()
        self._next_look = self._read_at + LOOK_S
        self._next_unknown = self._read_at + UNKNOWN_S

    async def _read(self) -> bytes:
        path = Path(str(self._file))

        def hangs() -> None:
            _log.error("the issuer's keys are not read: their file does not answer", extra={"path": str(path)})

        return await apart(lambda: _bytes_of(path), "jwks", hangs)

    async def _download(self) -> bytes:
        import httpx

        url = str(self._url)
        data = bytearray()
        async with (
            asyncio.timeout(FETCH_S),
            httpx.AsyncClient(follow_redirects=False, trust_env=url.startswith("https:")) as client,
            client.stream("GET", url, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise ConfigurationError(f"expected status 200, found {answer.status_code}")
            async for piece in answer.aiter_bytes():
                data += piece
                if len(data) > MAX_BYTES:
                    raise ConfigurationError(f"expected at most {MAX_BYTES} bytes")
        return bytes(data)


def public_keys(data: bytes, where: str) -> tuple[PublicKey, ...]:
    """The keys of a set that can verify signatures; others, secret ones among them, are left out.

    Raises:
        ConfigurationError: it is no key set, or has none that can be used.
    """
    try:
        listed = json.loads(data)["keys"]
        if not isinstance(listed, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigurationError(f'{where}: expected a JSON Web Key Set, {{"keys": [...]}}') from None
    found = [key for each in listed[:MAX_KEYS] if (key := _public_key(each)) is not None]
    if not found:
        raise ConfigurationError(f"{where}: expected a public key for signatures (RSA, EC or OKP), found none")
    return tuple(found)


def _public_key(jwk: object) -> PublicKey | None:
    if not isinstance(jwk, dict) or jwk.get("use") not in (None, "sig"):
        return None
    kind = jwk.get("kty")
    algorithms: tuple[str, ...] = (
        _RSA if kind == "RSA" else _OF_CURVE.get(str(jwk.get("crv")), ()) if kind in ("EC", "OKP") else ()
    )
    if "alg" in jwk:
        algorithms = tuple(each for each in algorithms if each == jwk["alg"])
    public = {name: value for name, value in jwk.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")}
    if not algorithms:
        return None
    try:
        key = PyJWK(public, algorithm=algorithms[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if kind == "RSA" and key.key_size < _LEAST_RSA_BITS:
        return None
    kid = jwk.get("kid")
    return PublicKey(kid if isinstance(kid, str) else None, key, frozenset(algorithms))


def _bytes_of(path: Path) -> bytes:
    try:
        data = regular_file.read(path, MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{path}: expected at most {MAX_BYTES} bytes")
    return data


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" or (
            parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        )
        good = good and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(
            "the URL of the key set: expected https://HOST/PATH without a user, or http:// on this machine"
        )
