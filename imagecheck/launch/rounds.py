"""The order of a series, which of its starts were of one round, and when it ends early. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from imagecheck.launch.sample import Sample

FIRST = 3  # starts of a label; when they all fail by the image itself, the others would too
_NEARLY_ALL = 0.8  # of a label's starts are in a round with one of the other's, or rounds do not count


def rounds(labels: Sequence[str], count: int, seed: int) -> list[str]:
    """The label of each start: ``count`` rounds with every label once, in an order drawn anew for each round.

    Whatever drifts in the cloud meets all labels alike, and none is always the one that comes after the other.
    """
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret; the seed is kept with the series
    return [label for _ in range(count) for label in draw.sample(list(labels), len(labels))]


def pairs(a: Sequence[Sample], b: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The starts of two labels that were of one round of one series, in their order.

    Empty unless nearly all of both are: samples of two series, or of one that was thinned out, have no rounds.
    """
    sides: list[dict[tuple[str, int], list[Sample]]] = [{}, {}]
    for side, samples in zip(sides, (a, b), strict=True):
        for one in samples:
            side.setdefault((one.series, (one.number - 1) // 2), []).append(one)  # two labels: two starts a round
    found = [
        (ours[0], theirs[0])
        for at, ours in sides[0].items()
        if len(ours) == len(theirs := sides[1].get(at, [])) == 1 and ours[0].label != theirs[0].label
    ]
    return found if len(found) >= _NEARLY_ALL * max(len(a), len(b)) else []


class Stop:
    """Looks at each sample and says why the series is in vain; "" while it is not."""

    def __init__(self) -> None:
        self.reason = ""
        self._failed: dict[str, int] = {}  # label -> first starts that all failed by the image
        self._over: set[str] = set()  # labels that one start has gone otherwise with

    def take(self, sample: Sample, fault: str) -> str:
        """``fault``: the class of the failed one's cause (errors.Cause), "" where it completed or nobody knows."""
        if sample.completed or fault != "image":
            self._over.add(sample.label)
        elif sample.label not in self._over:
            self._failed[sample.label] = self._failed.get(sample.label, 0) + 1
            if self._failed[sample.label] >= FIRST and not self.reason:
                self.reason = (
                    f"the first {FIRST} starts of {sample.label} all failed by a fault of the image "
                    f"({sample.cause}): {sample.sentence}"
                )
        return self.reason
