"""API keys: what a caller presents, what is stored of it, and whether the two belong together. Used by `gate.py` and by
`moor keys`; `stores.py` and `redis_store.py` hold the documents.

    mk_<id>_<secret>    the id is public: lists, logs and limits name it; the secret is shown once and nowhere stored

Stored is HMAC-SHA-256 under a salt of each key's own. A slow hash such as Argon2 makes guessing passwords expensive; a
secret here has 256 random bits, which nobody guesses, and a slow hash would only let callers make the server busy.
"""

import hashlib
import hmac
import re
import secrets
import string
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from moorage.access.errors import ConfigurationError
from moorage.access.principal import Limit, Principal, Role

PREFIX: Final = "mk_"
MAX_KEYS: Final = 10_000
"""In one store; all of them are held in memory."""
_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_LENGTH: Final = 43  # 62^43 > 2^256
_ID: Final = r"[a-z0-9][a-z0-9-]{0,31}"
_PRESENTED: Final = re.compile(rf"mk_({_ID})_([A-Za-z0-9]{{{_SECRET_LENGTH}}})".encode())
_HASH: Final = r"^hmac-sha256\$[0-9a-f]{32}\$[0-9a-f]{64}$"
_MODEL: Final = r"^[A-Za-z0-9._*?-]{1,63}$"


class StoredLimit(BaseModel):
    """A `principal.Limit`, as a document has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    requests: int = Field(ge=1, le=1_000_000_000)
    per: Literal["second", "minute", "hour", "day"]
    operation: Literal["predict", "batch", "manage"] | None = None


class Former(BaseModel):
    """The hash before the last rotation, which is still good for a while."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    hash: str = Field(pattern=_HASH)
    until: AwareDatetime


class StoredKey(BaseModel):
    """One key's document. An unknown field is an error: a misspelt `expires` must not mean never."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern=rf"^{_ID}$")
    hash: str = Field(pattern=_HASH)
    role: Role = "read"
    models: tuple[Annotated[str, Field(pattern=_MODEL)], ...] | None = Field(default=None, max_length=100)
    limits: tuple[StoredLimit, ...] = Field(default=(), max_length=16)
    tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,63}$")
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    former: Former | None = None

    def principal(self) -> Principal:
        """The caller that this key stands for."""
        limits = tuple(Limit(each.requests, each.per, each.operation) for each in self.limits)
        return Principal(self.id, "key", self.role, self.models, limits, self.tenant)

    def document(self) -> dict[str, Any]:
        """For JSON; what is not set is left out."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"role": self.role}

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        """At `now`."""
        if self.revoked is not None and self.revoked <= now:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class Verifier:
    """One stored key, ready to be compared with what is presented. Made once, when a store is read."""

    __slots__ = ("_hashes", "_until", "principal")

    def __init__(self, key: StoredKey) -> None:
        self.principal = key.principal()
        ends = [moment.timestamp() for moment in (key.expires, key.revoked) if moment is not None]
        self._until = min(ends, default=float("inf"))
        # Always two, so that a key in rotation takes no longer than another.
        salt, digest = _split(key.hash)
        former = (*_split(key.former.hash), key.former.until.timestamp()) if key.former else (salt, digest, 0.0)
        self._hashes = ((salt, digest, self._until), former)

    def good_until(self, secret: bytes, now: float) -> float:
        """Until when (Unix seconds) this secret is good, as far as is known; 0 if it is not."""
        until = 0.0
        for salt, digest, end in self._hashes:
            same = hmac.compare_digest(hmac.digest(salt, secret, "sha256"), digest)
            if same:
                until = max(until, min(end, self._until))
        return until if until > now else 0.0


def split(presented: bytes) -> tuple[str, bytes] | None:
    """The id and the secret of a well-formed key, else None. It never copies or hashes what is too long."""
    found = _PRESENTED.fullmatch(presented) if len(presented) < 128 else None
    return None if found is None else (found[1].decode(), found[2])


def new_id() -> str:
    """Ten characters, so that lists are easy to read; it need not be hard to guess."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(10))


def new_secret() -> str:
    """256 random bits in letters and digits, which a double click selects and no shell changes."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))


def hashed(secret: str) -> str:
    """What is stored of a secret, under a new salt."""
    salt = secrets.token_bytes(16)
    return f"hmac-sha256${salt.hex()}${hmac.digest(salt, secret.encode(), 'sha256').hex()}"


def presented(key_id: str, secret: str) -> str:
    """The key as its owner keeps it."""
    return f"{PREFIX}{key_id}_{secret}"


def parse(documents: object, where: str) -> list[StoredKey]:
    """Keys from parsed JSON or YAML: a list of documents, or one.

    Raises:
        ConfigurationError: one of them is none, or two have one id. Nothing of a hash is in the message.
    """
    listed = documents if isinstance(documents, list) else [documents]
    if len(listed) > MAX_KEYS:
        raise ConfigurationError(f"{where}: expected at most {MAX_KEYS} keys, found {len(listed)}")
    keys: dict[str, StoredKey] = {}
    for number, each in enumerate(listed):
        try:
            key = StoredKey.model_validate(each)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise ConfigurationError(
                f"{where}: key {number + 1}: {place + ': ' if place else ''}{problem['msg']}"
            ) from None
        if key.id in keys:
            raise ConfigurationError(f"{where}: key {number + 1}: the id {key.id} is there twice")
        keys[key.id] = key
    return list(keys.values())


def check_room(count: int, where: str) -> None:
    """Before so many keys are written.

    Raises:
        ConfigurationError: they are more than a store holds.
    """
    if count > MAX_KEYS:
        raise ConfigurationError(
            f"{where}: expected at most {MAX_KEYS} keys: moor keys prune removes those that have ended"
        )


def nobody() -> Verifier:
    """Compared with where an id is unknown, so that this takes as long as a wrong secret."""
    return Verifier(
        StoredKey(id="nobody", hash=hashed(new_secret()), created=datetime.now(UTC), expires=datetime.now(UTC))
    )


def digest(credentials: bytes) -> bytes:
    """Under which verified credentials are remembered, so that memory does not hold them. BLAKE2s because Python's own SHA-256
    takes three times as long for so few bytes, and each request needs one."""
    return hashlib.blake2s(credentials).digest()


def _split(stored: str) -> tuple[bytes, bytes]:
    _, salt, wanted = stored.split("$")
    return bytes.fromhex(salt), bytes.fromhex(wanted)
