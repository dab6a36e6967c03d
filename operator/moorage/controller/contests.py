"""Fields of ours that somebody else writes back each time we restore them. Asked by apply.py, told of by reconcile.py.

A hand that changes a child once is answered at once, as is the second and the third time. A program that does it again and
again would be answered for ever, a write of ours for each of its own: it is answered ever more seldom, and named. One that
does it less than once a minute is not: it could not be answered more seldom.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from moorage.controller.cluster import FIELD_MANAGER, Body
from moorage.controller.diff import owns

FREELY = 3
"""Restorations that are nobody's contest yet."""
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
"""Between two restorations after those: doubled from one to the next. A field that has stood for longer begins a new count."""
CALM_S = 10.0
"""A contest is told of until what we restored has stood for so long, and for twice as long as it ever did or was waited for."""
FORGOTTEN_S = 2 * LONGEST_WAIT_S
"""No contest lasts for longer than this after the last restoration."""

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
    fallen: bool = False
    """Whether what was restored has been written over since."""
    stood_s: float = 0.0
    """For how long it stood at most, before it was."""
    words: str = ""

    @property
    def wait_s(self) -> float:
        over = self.restored - FREELY
        return 0.0 if over <= 0 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(over - 1, 16))

    @property
    def calm_s(self) -> float:
        return min(FORGOTTEN_S, max(CALM_S, 2 * self.wait_s, 2 * self.stood_s))

    @property
    def counts_for_s(self) -> float:
        return max(LONGEST_WAIT_S, self.calm_s)


class Contests:
    """By child, how often a field was restored to the same manifest lately, and who wrote it in between.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Entry, _Contest] = OrderedDict()
        """The one that was restored longest ago first."""

    def holds_back(self, entry: Entry, manifest: Body, live: Body, field: str) -> bool:
        """Whether a field that is not what we rendered is left so for now. Another wish than before is never held back."""
        contest = self._known.get(entry)
        if contest is None or contest.manifest != manifest:
            return False
        since_s = self._clock() - contest.at
        if not contest.fallen:  # else what has passed is the time for which we hold back, not that for which it stood
            if since_s >= contest.counts_for_s:
                del self._known[entry]
                return False
            contest.fallen, contest.stood_s = True, max(contest.stood_s, since_s)
        if not contest.wait_s:
            return False
        contest.words = (
            f"{entry[0]} {live['metadata']['name']}: {_writer(live, field)} writes {field} each time that it was restored, "
            "which is done ever more seldom now: have that writer leave the field alone, or set it in the spec"
        )
        return since_s < contest.wait_s

    def restored(self, entry: Entry, manifest: Body) -> None:
        """A field was written over, as `holds_back` allowed; call it after the write."""
        now, contest = self._clock(), self._known.get(entry)
        if contest is None or contest.manifest != manifest:
            contest = self._known[entry] = _Contest(manifest)
        contest.restored, contest.at, contest.fallen = contest.restored + 1, now, False
        self._known.move_to_end(entry)
        while now >= self._known[oldest := next(iter(self._known))].at + FORGOTTEN_S:
            del self._known[oldest]

    def stands(self, entry: Entry, manifest: Body) -> None:
        """The child was found as we rendered it."""
        contest = self._known.get(entry)
        if contest is None:
            return
        contest.fallen = False
        since_s = self._clock() - contest.at
        if contest.manifest != manifest or since_s >= contest.counts_for_s:
            del self._known[entry]
        elif since_s >= contest.calm_s:
            contest.words = ""  # and counts on for a while: it may come back

    def forget(self, entry: Entry) -> None:
        """The child was gone, and has been made anew."""
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


def _writer(live: Body, field: str) -> str:
    """Who of the others wrote that field last, by the name under which it did. Who took one away has left no name."""
    others = [
        entry
        for entry in live["metadata"].get("managedFields", ())
        if entry.get("manager") != FIELD_MANAGER and owns(entry.get("fieldsV1", {}), live, field)
    ]
    last: Body = max(others, key=lambda entry: str(entry.get("time", "")), default={})
    return f"the field manager {last['manager']!r}" if last.get("manager") else "somebody"
