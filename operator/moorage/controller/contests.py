"""Fields of ours that somebody else writes back each time we restore them. Asked by apply.py, told of by reconcile.py.

A hand that changes a child once is answered at once, as is the second and the third time. A program that does it again and
again would be answered for ever, a write of ours for each of its own: it is answered ever more seldom, and named.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from moorage.controller.cluster import FIELD_MANAGER, Body

FREELY = 3
"""Restorations that are nobody's contest yet."""
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
"""Between two restorations after those: doubled from one to the next."""
CALM_S = 10.0
"""A contest is over when what we restored has stood for so long, and for twice the wait before it."""

Entry = tuple[str, tuple[str, str]]
"""A child's kind and key."""


class Contested(NamedTuple):
    """What is to be said of it, and in how many seconds to look again."""

    words: str
    look_again_s: float


@dataclass(slots=True)
class _Contest:
    manifest: Body
    restored: int = 0
    at: float = 0.0
    words: str = ""

    @property
    def wait_s(self) -> float:
        over = self.restored - FREELY
        return 0.0 if over <= 0 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(over - 1, 16))

    @property
    def calm_s(self) -> float:
        return max(CALM_S, 2 * self.wait_s)


class Contests:
    """By child, how often a field was restored to the same manifest lately, and who wrote it in between.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Entry, _Contest] = {}

    def holds_back(self, entry: Entry, manifest: Body, live: Body, field: str) -> bool:
        """Whether a field that is not what we rendered is left so for now. Another wish than before is never held back."""
        contest = self._known.get(entry)
        if contest is None or contest.manifest != manifest or not contest.wait_s:
            return False
        contest.words = (
            f"{entry[0]} {live['metadata']['name']}: {_writer(live)} writes {field} each time that it was restored, which is "
            "done ever more seldom now: have that writer leave the field alone, or set it in the spec"
        )
        return self._clock() < contest.at + contest.wait_s

    def restored(self, entry: Entry, manifest: Body) -> None:
        """A field was written over; call it after the write."""
        contest = self._known.get(entry)
        if contest is None or contest.manifest != manifest:
            contest = self._known[entry] = _Contest(manifest)
        contest.restored, contest.at = contest.restored + 1, self._clock()

    def stands(self, entry: Entry) -> None:
        """The child was found as we rendered it."""
        contest = self._known.get(entry)
        if contest is not None and self._clock() >= contest.at + contest.calm_s:
            del self._known[entry]

    def forget(self, entry: Entry) -> None:
        """The child is gone."""
        self._known.pop(entry, None)

    def among(self, entries: Iterable[Entry]) -> Contested | None:
        """The first contest among some children."""
        for entry in entries:
            contest = self._known.get(entry)
            if contest is not None and contest.words:
                since_s = self._clock() - contest.at
                due_s = contest.wait_s if since_s < contest.wait_s else contest.calm_s
                return Contested(contest.words, max(0.0, due_s - since_s))
        return None


def _writer(live: Body) -> str:
    """Who of the others wrote last, by the name under which it did."""
    others = [
        entry
        for entry in live["metadata"].get("managedFields", ())
        if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
    ]
    last: Body = max(others, key=lambda entry: str(entry.get("time", "")), default={})
    return f"the field manager {last['manager']!r}" if last.get("manager") else "somebody"
