"""Is an answer right? Five classes with their probabilities against the reference, all 1000 probabilities of the photo."""

from collections.abc import Sequence

import numpy as np

TOP = 5


class Judge:
    """Of one network: `reference` is [photos, classes], fp32 and eager, `tolerance` that of a probability."""

    def __init__(self, reference: np.ndarray, tolerance: float) -> None:
        self._reference, self._tolerance = reference, tolerance
        self._fifth = -np.sort(-reference, axis=1)[:, TOP - 1]

    def problem(self, photo: int, classes: Sequence[tuple[int, float]]) -> str | None:
        """What is wrong, or None. The best class must be the reference's; the others may change places with classes that
        are as probable within the tolerance.
        """
        wanted = self._reference[photo]
        if len(classes) != TOP or len({number for number, _ in classes}) != TOP:
            return f"expected {TOP} different classes, found {list(classes)}"
        if not all(0 <= number < len(wanted) for number, _ in classes):
            return f"expected classes below {len(wanted)}, found {list(classes)}"
        best = int(wanted.argmax())
        if classes[0][0] != best:
            return f"expected class {best} first, found {list(classes)}"
        for number, probability in classes:
            if not abs(probability - wanted[number]) <= self._tolerance:
                return f"class {number}: expected probability {wanted[number]:.5f}, found {probability:.5f}"
            if wanted[number] < self._fifth[photo] - self._tolerance:
                return f"class {number} is not among the best {TOP}"
        probabilities = [probability for _, probability in classes]
        if probabilities != sorted(probabilities, reverse=True):
            return f"expected the best class first, found {list(classes)}"
        return None
