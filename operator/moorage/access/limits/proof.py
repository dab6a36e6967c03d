"""The proof that a call has been counted already, by the gateway that passes it on. The gateway signs, the predictor verifies;
both have the same secret, from one mounted file.

    X-Moorage-Counted: v1.ISSUED_AT.OPERATION.KEY_ID.MAC        key id and MAC in base64 without padding

The MAC (HMAC-SHA256) is also over the request's id and the model, which the predictor sees for itself: a proof is good for one
request, once, for `LIFE_S` seconds. Which are used, each process remembers, and where counts are kept for several processes, what
keeps them remembers it for all (`failure.Guarded.once`).

    verify() ──> MAC, time, call, and new in this process? ── no ──> counted
                   └── yes ──> is_first(): new in the shared store? ── no ──> counted
                                 └── yes, or there is none ──> not counted again
"""

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from moorage.access.errors import ConfigurationError
from moorage.api import regular_file
from moorage.api.rate_limits import Operation

_log = logging.getLogger(__name__)

HEADER: Final = b"x-moorage-counted"
REQUEST_ID: Final = b"x-request-id"
ONCE: Final = "proof/"
"""What the keys of used proofs begin with, in a store that has also counts."""
LIFE_S: Final = 60
SKEW_S: Final = 5
"""How far the gateway's clock may be ahead."""
MAX_REMEMBERED: Final = 500_000
"""Proofs that are used in one generation, `LIFE_S + SKEW_S` long. Beyond it proofs are refused, calls counted, and the log says
so."""
_LEAST_SECRET: Final = 32
_LONGEST: Final = 1024
_LONGEST_ID: Final = 128


class Claim(NamedTuple):
    """What a good proof says."""

    key_id: str
    """Whom the gateway has counted."""
    operation: str


class Once(Protocol):
    """What several processes remember together."""

    async def once(self, key: str, length_s: float) -> bool:
        """Whether the key comes for the first time in so many seconds; see `failure.Guarded`."""


class Seen:
    """Ids that have come within a proof's life, of one process."""

    def __init__(self) -> None:
        # Hashes of request ids, of this generation and of the one before: no proof is good any more when its id is forgotten.
        # Two ids with one hash would mean a call that is counted twice, never one that is not counted.
        self._used: set[int] = set()
        self._used_before: set[int] = set()
        self._next_generation = 0.0
        self._is_full = False

    def first(self, request_id: str, now: float) -> bool:
        """Whether it is new, and there is room to remember it. `now` in seconds, of one clock."""
        if now > self._next_generation:
            self._used_before, self._used, self._is_full = self._used, set(), False
            self._next_generation = now + LIFE_S + SKEW_S
        number = hash(request_id)
        if number in self._used or number in self._used_before:
            return False
        if len(self._used) >= MAX_REMEMBERED:
            if not self._is_full:
                self._is_full = True
                _log.warning("too many proofs to remember: calls that the gateway has counted are counted again")
            return False
        self._used.add(number)
        return True


class Proofs:
    """Of one process. Whoever only signs remembers nothing."""

    def __init__(self, secret: bytes, now: Callable[[], float] = time.time, shared: Once | None = None) -> None:
        self._secret = secret
        self._now = now
        self._seen = Seen()
        self._shared = shared
        self.asks_others = shared is not None
        """Whether `is_first` has to be asked about what `verify` found good."""

    @classmethod
    def from_file(cls, path: str, shared: Once | None = None) -> "Proofs":
        """With the file's content as the secret; white space around it is not part of it.

        Raises:
            ConfigurationError: it cannot be read, or is too short for a secret.
        """
        try:
            secret = regular_file.read(path).strip()
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
        if len(secret) < _LEAST_SECRET:
            raise ConfigurationError(
                f"{path}: expected a secret of at least {_LEAST_SECRET} bytes, found {len(secret)}: "
                "write one with `openssl rand -hex 32`"
            )
        return cls(secret, shared=shared)

    def sign(self, key_id: str, request_id: str, model: str | None, operation: Operation) -> str:
        """The header's value for a call that has been counted."""
        issued = str(int(self._now()))
        mac = self._mac(issued, operation, key_id, request_id, model)
        return f"v1.{issued}.{operation}.{_text(key_id.encode())}.{_text(mac)}"

    def verify(self, value: bytes, request_id: str, model: str | None, operation: Operation) -> Claim | None:
        """What the proof says, if it is good for this call and was not used before in this process; else None.

        A proof of a batch is good for a prediction: the predictor cannot tell them apart before it reads the body.
        """
        parts = value.split(b".") if len(value) <= _LONGEST else []
        if len(parts) != 5 or parts[0] != b"v1" or not 0 < len(request_id) <= _LONGEST_ID:
            return None
        try:
            issued, stated, key_id = parts[1].decode(), parts[2].decode(), _bytes(parts[3]).decode()
            issued_at, mac = int(issued), _bytes(parts[4])
        except ValueError:
            return None
        now = self._now()
        if not hmac.compare_digest(mac, self._mac(issued, stated, key_id, request_id, model)):
            return None
        if not now - LIFE_S <= issued_at <= now + SKEW_S:
            return None
        if stated != operation and (stated, operation) != ("batch", "predict"):
            return None
        return Claim(key_id, stated) if self._seen.first(request_id, now) else None

    async def is_first(self, request_id: str) -> bool:
        """Whether no other process has seen the proof for this request, as far as is known. While the store is away, what this
        process remembers has to do; save with `closed`, where what cannot be counted is refused, and so is this."""
        if self._shared is None:
            return True
        digest = hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return await self._shared.once(ONCE + digest, LIFE_S + SKEW_S)

    def _mac(self, issued: str, operation: str, key_id: str, request_id: str, model: str | None) -> bytes:
        # Each field with its length before it: no two lists of fields are the same bytes.
        fields = [field.encode() for field in ("v1", issued, operation, key_id, request_id, model or "")]
        message = b"".join(b"%d:%b" % (len(field), field) for field in fields)
        return hmac.digest(self._secret, message, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
