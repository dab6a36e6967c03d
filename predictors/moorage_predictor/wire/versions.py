"""One model name with all its versions, and which of them answers those who name none. Held by `repository.py`.

| a version                                                        | may be the newest                             |
|------------------------------------------------------------------|-----------------------------------------------|
| has been loaded, or was there before any other was                | yes; the highest of them is                   |
| came while another answered, or could once not be loaded         | once it is loaded and warm                    |
| cannot be loaded, or was unloaded by a caller                    | only if all are like that                     |

What was unloaded for room stays the newest: else callers would see answers of an older one again.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from moorage_predictor.errors import ModelLoadFailed, NotFound, RequestError
from moorage_predictor.wire.served import Served

_NUMBERS: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_PARTS: Final = re.compile(r"[0-9]+|[^0-9]+")


class Versions:
    """Of one name; there is at least one, or nobody holds this."""

    def __init__(self, name: str, first: Served) -> None:
        self.name = name
        self._served = {first.version: first}
        self._waiting: set[str] = set()
        self.newest = first
        """Who answers requests without a version."""

    def __iter__(self) -> Iterator[Served]:
        """From the oldest to the newest."""
        return iter(sorted(self._served.values(), key=lambda served: newer(served.version)))

    def __len__(self) -> int:
        return len(self._served)

    def get(self, version: str) -> Served | None:
        """This version."""
        return self._served.get(version)

    def add(self, served: Served) -> None:
        """Another version; where one answers already it has to be loaded before it is the newest."""
        if self.newest.proven:
            self._waiting.add(served.version)
        self._served[served.version] = served
        self.choose()

    def remove(self, served: Served) -> None:
        """It is gone; there is another."""
        del self._served[served.version]
        self._waiting.discard(served.version)
        self.choose()

    def choose(self) -> None:
        """After any of them was loaded, unloaded, or could not be."""
        self._waiting |= {one.version for one in self if one.failure}
        self._waiting -= {one.version for one in self if one.proven}
        candidates = [one for one in self if not _out(one) and one.version not in self._waiting] or list(self)
        self.newest = candidates[-1]

    def expect(self) -> None:
        """See `Served.expect`.

        Raises:
            RequestError: no version can answer.
        """
        self.newest.expect()

    async def wake(self, deadline: float | None) -> Served:
        """The newest version, once one is in memory; if one cannot be loaded, the next older one.

        Raises:
            RequestError: see `Served.wake`.
        """
        failure: RequestError | None = None
        # Those that were never tried come before the one that is the newest so far.
        for served in sorted(self, key=lambda one: (not _out(one), newer(one.version)), reverse=True):
            if self.newest.pipeline is not None:
                return self.newest
            try:
                return await served.wake(deadline)
            except (ModelLoadFailed, NotFound) as error:
                failure = failure or error
        raise failure or self.newest.why_not()


def _out(served: Served) -> bool:
    return served.pipeline is None and (served.failure is not None or not served.wanted)


def newer(version: str) -> tuple[Any, ...]:
    """A sort key: numbers count as numbers (`9` < `10`, `1.9` < `1.10`), and labels that are no numbers come before them."""
    if _NUMBERS.fullmatch(version):
        return 1, tuple(int(part) for part in version.split(".")), version
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _PARTS.findall(version))
    return 0, parts, version
