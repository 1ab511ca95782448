"""Where the time of a launch went, phase by phase; and of many the telling ones, the others in a strip each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from imagecheck.launch import Phase
from imagecheck.launch.sample import Sample
from imagecheck.report.document import text
from imagecheck.report.html import draw
from imagecheck.report.html.draw import Bar, Scale
from imagecheck.report.reading import Told

_TITLES = {"boot": "bare boot", "launch": "Trove launch", "healthy": "first query to HEALTHY", "server": "Nova server"}
FAILED = 3  # failed launches of a label that are shown in full; the others are in the strips with their cause


def measured(timings: Told) -> list[str]:
    """The bare boot and the Trove launch of this run."""
    parts = []
    for kind, start in timings.at("starts").items():
        bars = [_bar(phase) for phase in start.rows("phases")]
        title = text(_TITLES.get(kind, kind))
        missing = start.pairs("missing")
        if not bars:
            parts.append(f"<h3>{title}: not measured</h3>{_missing(missing)}")
            continue
        whole = start.number("seconds")
        parts.append(
            _waterfall(
                title, bars, _length(bars) if whole is None else whole, start.seconds("uncertainty"), missing
            )
        )  # fmt: skip
    return [_legend(), *parts] if parts else []


def telling(samples: Sequence[Sample]) -> list[str]:
    """Of each label the median launch, the slowest and the first failed ones in full, and all as strips."""
    parts = []
    for label, kind in dict.fromkeys((one.label, one.kind) for one in samples):
        mine = [one for one in samples if (one.label, one.kind) == (label, kind)]
        good = sorted((one for one in mine if one.completed and one.phases), key=lambda one: one.seconds)
        named = f"{text(_TITLES[kind])} of {text(label)}"
        if good:
            parts.append(_full(f"median {named}", good[(len(good) - 1) // 2], opened=True))
        if len(good) > 1:
            parts.append(_full(f"slowest {named}", good[-1]))
        failed = [one for one in mine if not one.completed]
        parts += [_full(f"failed {named}", one) for one in failed[:FAILED]]
        parts.append(_strips(named, mine))
    return [_legend(), *parts] if parts else []


def _bar(told: Told) -> Bar:
    name, note = told.text("name"), told.text("note")
    phase = Phase(name, told.seconds("start"), told.seconds("seconds"), told.seconds("uncertainty"), note)
    return Bar(phase, told.text("waiting"))


def _bars(sample: Sample) -> list[Bar]:
    """Consecutive phases: each begins where the one before it ended."""
    bars, reached = [], 0.0
    for one in sample.phases:
        bars.append(Bar(Phase(one.name, reached, one.seconds, one.uncertainty), one.waiting))
        reached += one.seconds
    return bars


def _length(bars: Iterable[Bar]) -> float:
    return max((bar.phase.start + bar.phase.seconds for bar in bars), default=0.0)


def _waterfall(title: str, bars: Sequence[Bar], whole: float, uncertainty: float, missing: Mapping[str, str]) -> str:
    """``title`` is escaped; the rest is not."""
    scale = Scale(0.0, max(whole, _length(bars)))
    rows = "".join(_row(scale, bar) for bar in bars)
    waited = math.fsum(bar.phase.seconds for bar in bars if bar.waiting)
    of_it = f'<span class="word waits">of it waiting {waited:.1f} s</span>' if waited else ""
    return (
        f'<table class="fall c4"><caption>{title}: {whole:.1f} s ± {uncertainty:.1f} s</caption><thead><tr>'
        '<th scope="col">phase</th><th scope="col" class="n">begins</th><th scope="col" class="n">takes</th>'
        f'<th scope="col" class="n">±</th><th scope="col" class="draw">{draw.axis(scale)}</th></tr></thead>'
        f"<tbody>{rows}</tbody><tfoot><tr>"
        f'<th scope="row">whole{of_it}</th><td class="n"></td><td class="n">{whole:.1f} s</td>'
        f'<td class="n pm">± {uncertainty:.1f}</td><td class="draw"></td></tr></tfoot></table>{_missing(missing)}'
    )


def _row(scale: Scale, bar: Bar) -> str:
    phase = bar.phase
    words = f'<span class="word waits">waiting: {text(bar.waiting)}</span>' if bar.waiting else ""
    words += f'<span class="word">{text(phase.note)}</span>' if phase.note else ""
    # Where only a bound is known, "< x" has the uncertainty in it.
    return (
        f'<tr><th scope="row">{text(phase.name)}{words}</th><td class="n pm">{phase.start:.1f}</td>'
        f'<td class="n">{text(str(phase))}</td><td class="n pm">{f"± {phase.uncertainty:.1f}" if phase.certain else ""}'
        f'</td><td class="draw">{draw.phase_bar(scale, bar)}</td></tr>'
    )


def _missing(missing: Mapping[str, str]) -> str:
    if not missing:
        return ""
    rows = "".join(f"<li><code>{text(event)}</code>: {text(reason)}</li>" for event, reason in missing.items())
    return f'<p>Not seen, so there are fewer phases:</p><ul class="plain">{rows}</ul>'


def _legend() -> str:
    keys = (
        ("work", "work"), ("waiting", "waiting, said for what"), ("err", "± at its end"),
        ("maybe", "shorter than its uncertainty: at most this"),
    )  # fmt: skip
    return f'<p class="legend">{"".join(f"<span>{draw.key(kind)}{word}</span>" for kind, word in keys)}</p>'


def _full(title: str, sample: Sample, *, opened: bool = False) -> str:
    """A launch in full, behind its name; ``title`` is escaped."""
    if sample.completed:
        told = f"{sample.seconds:.1f} s"
    else:
        told = f"after {sample.seconds:.1f} s, {text(sample.sentence or sample.cause or 'the cause is not known')}"
    bars = _bars(sample)
    inner = (
        _waterfall(title, bars, sample.seconds, sample.uncertainty, sample.missing)
        if bars
        else f"<p>No phase of it was seen.</p>{_missing(sample.missing)}"
    )
    word = f"{title}: number {sample.number}, {told}"
    return f"<details{' open' if opened else ''}><summary>{word}</summary>{inner}</details>"


def _strips(named: str, samples: Sequence[Sample]) -> str:
    names = {name: text(name) for name in {phase.name for one in samples for phase in one.phases}}
    scale = Scale(0.0, max((_length(_bars(one)) for one in samples), default=0.0))
    rows = "".join(
        f'<tr><th scope="row" class="n">{one.number}</th><td class="n">{"" if one.completed else "> "}'
        f"{one.seconds:.1f} s</td><td>{_ended(one)}</td>"
        f'<td class="draw">{draw.strip(scale, _bars(one), names)}</td></tr>'
        for one in samples
    )
    return (
        f'<details class="long"><summary>all {len(samples)}: {named}</summary><table class="fall c4"><thead><tr>'
        '<th scope="col" class="n">number</th><th scope="col" class="n">took</th><th scope="col">ended</th>'
        f'<th scope="col" class="draw">{draw.axis(scale)}</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _ended(sample: Sample) -> str:
    return "completed" if sample.completed else f'<span class="bad">✗ failed</span> {text(sample.cause)}'
