"""The name of one request, by which its caller, its log line and its trace are brought together. Called by `http` and `grpc`.

A caller's own is taken if it can be told in a header and in a log as it is; anything else is replaced.
"""

import os
import re
from itertools import count
from typing import Final

HEADER: Final = "x-request-id"
LONGEST: Final = 128
"""Characters."""

_GOOD: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,%d}" % LONGEST).fullmatch
_PROCESS: Final = os.urandom(8).hex()
_numbers: Final = count(1)


def request_id(given: bytes | None) -> str:
    """The caller's, or one of this process that no other request has."""
    if given is not None and _GOOD(given):
        return given.decode("ascii")
    return f"{_PROCESS}-{next(_numbers)}"
