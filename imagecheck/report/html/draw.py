"""Small drawings as inline SVG. Lengths across are per cent, so that they fit any width without touching the text.

Every function takes words that are escaped already (document.text).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagecheck.launch import Phase
from imagecheck.report.document import text

_TICKS = 5  # at most this many steps on an axis: their words have to fit 300 pixels
_COLUMNS = 96  # places for dots on an axis
_STACK = 110.0  # pixels that dots may stand high
_DOT = 2.6  # pixels, radius
_LARGE = 4.0  # the same, where there are few
_FEW = 40


@dataclass(frozen=True)
class Bar:
    """One phase as it is drawn; ``waiting`` for what, "" where it is work."""

    phase: Phase
    waiting: str = ""


@dataclass(frozen=True)
class Scale:
    """Seconds from ``low`` to ``high`` on the width of a drawing."""

    low: float
    high: float

    def at(self, seconds: float) -> float:
        """Where, in per cent; what lies beyond an end stands at it."""
        if self.high <= self.low:
            return 0.0
        return 100 * min(1.0, max(0.0, (seconds - self.low) / (self.high - self.low)))

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        span = self.high - self.low
        if not span > 1e-6:
            return []
        rough = span / _TICKS
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def around(values: Sequence[float]) -> Scale:
    """A scale with a little air around the values, which need not begin at 0."""
    if not values:
        return Scale(0, 1)
    low, high = min(values), max(values)
    air = (high - low) * 0.06 or max(abs(high) * 0.05, 0.5)
    return Scale(max(0.0, low - air), high + air)


def pattern() -> str:
    """The hatchings that mean waiting; once in a page, before they are used."""
    made = "".join(
        f'<pattern id="hatch{name}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" class="h0"/><rect width="2.4" height="6" class="{ink}"/></pattern>'
        for name, ink in (("", "h1"), ("-a", "ha"), ("-b", "hb"))
    )
    return f'<svg class="defs" aria-hidden="true"><defs>{made}</defs></svg>'


def axis(scale: Scale) -> str:
    """The seconds of a scale, to stand above the drawings; a screen reader has them in the table."""
    words = "".join(
        f'<text class="tick" x="{scale.at(tick):.2f}%" y="11" text-anchor="{_anchor(scale.at(tick))}">{tick:g} s</text>'
        for tick in scale.ticks()
    )
    return f'<svg height="14" aria-hidden="true">{words}</svg>'


def phase_bar(scale: Scale, bar: Bar) -> str:
    """A phase where it lies in the whole, with its uncertainty; one that is shorter than that is an empty outline."""
    phase = bar.phase
    end = phase.start + phase.seconds
    if phase.certain:
        kind = "waiting" if bar.waiting else "work"
        shape = _rect(scale, phase.start, end, 3, 12, kind)
        if scale.at(end + phase.uncertainty) - scale.at(end - phase.uncertainty) > 0.5:
            shape += _line(scale, end - phase.uncertainty, end + phase.uncertainty, 9, "err")
    else:
        shape = _rect(scale, phase.start, end + phase.uncertainty, 3, 12, "maybe w" if bar.waiting else "maybe")
    word = f"{text(str(phase))} from {phase.start:.1f} s on, {'waiting' if bar.waiting else 'work'}"
    return _picture(18, word, _grid(scale, 18) + shape)


def strip(scale: Scale, bars: Iterable[Bar], names: dict[str, str]) -> str:
    """All phases of a launch in one row; ``names`` has their words escaped."""
    shapes = []
    for number, bar in enumerate(bars):
        phase = bar.phase
        kind = "waiting" if bar.waiting else ("work", "light")[number % 2]
        title = f"<title>{names[phase.name]} {phase.seconds:.1f} s</title>"
        shapes.append(_rect(scale, phase.start, phase.start + phase.seconds, 2, 10, kind, title))
    return f'<svg height="14" aria-hidden="true">{"".join(shapes)}</svg>'


def pair(scale: Scale, a: float | None, b: float | None, waiting: bool) -> str:
    """A above B."""
    shapes = _grid(scale, 22)
    for value, top, kind in ((a, 2, "a"), (b, 12, "b")):
        if value is not None:
            shapes += _rect(scale, 0, value, top, 8, kind + ("w" if waiting else ""))
    word = " and ".join(f"{side} {value:.1f} s" for side, value in (("A", a), ("B", b)) if value is not None)
    return _picture(22, word or "not known", shapes)


def length(scale: Scale, seconds: float) -> str:
    """One plain length."""
    return _picture(14, f"{seconds:.1f} s", _rect(scale, 0, seconds, 3, 8, "work"))


def dots(
    scale: Scale, values: Sequence[float], failed: Sequence[float], median: float | None, low: float | None,
    high: float | None, word: str,
) -> str:  # fmt: skip
    """One dot for each value, crosses for failed starts, the median with its interval. ``word`` tells the same."""
    piles: Counter[int] = Counter()
    placed = []
    for value in sorted(values):
        column = round(scale.at(value) / 100 * _COLUMNS)
        placed.append((scale.at(value), piles[column]))
        piles[column] += 1
    radius = _LARGE if len(values) <= _FEW else _DOT
    step = min(2 * radius, _STACK / max(piles.values(), default=1))
    tall = 18 + max(piles.values(), default=0) * step + (14 if failed else 0)
    ground = tall - 8 - (14 if failed else 0)
    shapes = _grid(scale, tall) + _line(scale, scale.low, scale.high, ground + radius + 1, "base")
    if median is not None:
        if low is not None or high is not None:
            left = scale.low if low is None else low
            right = scale.high if high is None else high
            shapes += _rect(scale, left, right, 0, tall, "range")
        shapes += _upright(scale, median, 0, tall, "median")
    shapes += "".join(
        f'<circle class="dot" cx="{x:.2f}%" cy="{ground - number * step:.1f}" r="{radius}"/>' for x, number in placed
    )
    for value in failed:
        x = f"{scale.at(value):.2f}%"
        # A cross of two lines; per cent and pixels mix only in a nested drawing.
        shapes += (
            f'<svg x="{x}" y="{tall - 8:.1f}" width="1" height="1"><path class="cross" d="M-3-3 3 3M-3 3 3-3"/></svg>'
        )
    return _picture(round(tall), word, shapes)


def key(kind: str) -> str:
    """A sample for a legend."""
    inner = {
        "err": '<line class="err" x1="10%" x2="90%" y1="50%" y2="50%"/>',
        "dot": f'<circle class="dot" cx="50%" cy="50%" r="{_DOT}"/>',
        "cross": '<svg x="50%" y="50%" width="1" height="1"><path class="cross" d="M-3-3 3 3M-3 3 3-3"/></svg>',
        "median": '<rect class="range" x="10%" width="80%" height="100%"/>'
        '<line class="median" x1="50%" x2="50%" y1="0" y2="100%"/>',
    }.get(kind, f'<rect class="{kind}" x="2%" y="8%" width="96%" height="84%"/>')
    return f'<svg class="key" aria-hidden="true">{inner}</svg>'


def _picture(height: float, word: str, shapes: str) -> str:
    return f'<svg height="{height}" role="img" aria-label="{word}">{shapes}</svg>'


def _grid(scale: Scale, height: float) -> str:
    return "".join(_upright(scale, tick, 0, height, "grid") for tick in scale.ticks())


def _rect(scale: Scale, left: float, right: float, top: float, height: float, kind: str, inner: str = "") -> str:
    x, end = scale.at(left), scale.at(right)
    width = max(end - x, 0.3)  # never quite nothing
    x = min(x, 100 - width)
    close = f">{inner}</rect>" if inner else "/>"
    return f'<rect class="{kind}" x="{x:.2f}%" y="{top:g}" width="{width:.2f}%" height="{height:g}"{close}'


def _line(scale: Scale, left: float, right: float, y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{scale.at(left):.2f}%" x2="{scale.at(right):.2f}%" y1="{y:g}" y2="{y:g}"/>'


def _upright(scale: Scale, seconds: float, top: float, bottom: float, kind: str) -> str:
    x = f"{scale.at(seconds):.2f}%"
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top:g}" y2="{bottom:g}"/>'


def _anchor(place: float) -> str:
    return "start" if place < 4 else "end" if place > 92 else "middle"
