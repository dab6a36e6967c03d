"""Room for attention weights, which all requests of a model share. Held by `stages.py`.

A row of the usual kind gives a few numbers, one with attention up to millions, so that counting rows bounds nothing here.
"""

import weakref
from collections import deque
from typing import Any, Final

from numpy.typing import NDArray

from moorage_predictor.errors import Overloaded

MAX_WEIGHTS: Final = 1 << 25
"""128 MiB of float32, of which passes and answers make up to three copies; or, written out, about 100 MB of JSON."""


class Room:
    """`take` is called in one thread, the event loop's."""

    def __init__(self, most: int = MAX_WEIGHTS) -> None:
        self._most = most
        self._taken = 0
        # Arrays go in any thread, also in the middle of `take`: to append is atomic, to subtract is not.
        self._left: deque[int] = deque()

    def take(self, weights: int) -> None:
        """For one request, from its pass to the end of its answer.

        Raises:
            Overloaded: those that others have there leave no room.
        """
        while self._left:
            self._taken -= self._left.popleft()
        if self._taken + weights > self._most:
            raise Overloaded(f"{self._taken} attention weights of other requests are in work; try again")
        self._taken += weights

    def leave(self, weights: int, answer: NDArray[Any] | None) -> None:
        """Give so many back; if there is an answer, when nobody holds it any more, be it to encode or to send it."""
        if answer is None:
            self._left.append(weights)
        else:
            weakref.finalize(answer, self._left.append, weights).atexit = False
