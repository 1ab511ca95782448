"""Many launches: their distributions, A against B by phase, and what changed between the two images."""

from __future__ import annotations

from collections.abc import Sequence

from imagecheck import diff
from imagecheck.launch.sample import Sample
from imagecheck.report.document import text
from imagecheck.report.html import draw
from imagecheck.report.html.draw import Scale
from imagecheck.report.html.top import badge
from imagecheck.report.reading import Told

_SHOWN = 12  # changes of a group that are shown at once; more are behind its name


def distributions(launches: Told, samples: Sequence[Sample]) -> list[str]:
    """The figures of each label, and a dot for each launch on one axis."""
    summaries = launches.rows("summaries")
    parts = [_figures(summaries)] if summaries else []
    told = {one.text("label"): one for one in summaries}
    for kind in dict.fromkeys(one.kind for one in samples):
        mine = [one for one in samples if one.kind == kind]
        completed = [one.seconds for one in mine if one.completed]
        scale = draw.around(completed or [one.seconds for one in mine])
        parts += [_legend(), draw.axis(scale)]
        for label in dict.fromkeys(one.label for one in mine):
            parts.append(_figure(label, [one for one in mine if one.label == label], told.get(label), scale))
    return parts


def _figures(summaries: Sequence[Told]) -> str:
    rows = []
    for one in summaries:
        middle = one.at("median_interval")
        p95 = _s(one.number("p95")) + (" (indicative)" if one.true("p95_indicative") else "")
        causes = ", ".join(
            f"{text(str(pair[0].whole()))} × {text(str(pair[1].whole()))}"
            for pair in (cause.each() for cause in one.rows("causes"))
            if len(pair) == 2
        )
        rows.append(
            f'<tr><th scope="row">{text(one.text("label"))}'
            + (f'<span class="word">failed by {causes}</span>' if causes else "")
            + f'</th><td class="n">{one.seconds("count"):.0f}</td><td class="n">{one.seconds("failed"):.0f}</td>'
            f'<td class="n">{_s(one.number("median"))}</td>'
            f'<td class="n">{_span(middle)}</td><td class="n">{_s(one.number("iqr"))}</td><td class="n">{p95}</td>'
            f'<td class="n">{_s(one.number("minimum"))}</td><td class="n">{_s(one.number("maximum"))}</td></tr>'
        )
    heads = ("launches", "failed", "median", "its interval", "IQR", "95th percentile", "fastest", "slowest")
    head = "".join(f'<th scope="col" class="n">{word}</th>' for word in heads)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="figures of each series"><table><thead><tr>'
        f'<th scope="col">series</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _legend() -> str:
    keys = (("dot", "a launch"), ("median", "median with its interval"), ("cross", "failed, at the earliest"))
    return f'<p class="legend">{"".join(f"<span>{draw.key(kind)}{word}</span>" for kind, word in keys)}</p>'


def _figure(label: str, samples: Sequence[Sample], summary: Told | None, scale: Scale) -> str:
    completed = [one.seconds for one in samples if one.completed]
    failed = [one.seconds for one in samples if not one.completed]
    median = low = high = None
    if summary is not None:
        median, middle = summary.number("median"), summary.at("median_interval")
        low, high = middle.number("low"), middle.number("high")
    word = f"{text(label)}: {len(completed)} launches"
    if completed:
        word += f" of {min(completed):.1f} to {max(completed):.1f} s"
    if median is not None:
        word += f", median {median:.1f} s"
    if failed:
        word += f"; {len(failed)} failed"
    picture = draw.dots(scale, completed, failed, median, low, high, word)
    return f'<figure class="series"><figcaption>{text(label)}</figcaption>{picture}</figure>'


def against(launches: Told) -> list[str]:
    """The verdict with its reasons, the phases of A and B, and beside them what changed between the images."""
    judgement = launches.at("judgement")
    if not judgement:
        return []
    parts = [
        f'<p class="verdict">{badge(judgement.text("verdict"))}<span>{text(judgement.text("sentence"))}</span></p>'
    ]
    if difference := judgement.at("difference"):
        parts.append(f"<p>{_difference(difference)}</p>")
    if reasons := judgement.texts("reasons"):
        parts.append(f'<ul class="plain">{"".join(f"<li>{text(one)}</li>" for one in reasons)}</ul>')
    if more := judgement.seconds("more"):
        parts.append(f"<p>{more:.0f} more launches of each would decide.</p>")
    return [*parts, f'<div class="two">{_phases(judgement)}{_changes(launches.at("changes"), judgement)}</div>']


def _difference(told: Told) -> str:
    rounds = told.seconds("rounds")
    words = f"B − A{' within a round' if rounds else ''}: {_signed(told.number('seconds'))}"
    if (relative := told.number("relative")) is not None:
        words += f", {_percent(100 * relative)}"
    if interval := told.at("interval"):
        words += f"; interval {_span(interval)}"
    if (p := told.number("p")) is not None:
        words += f"; p = {p:.3g}"
    if rounds:
        words += f" ({rounds:.0f} rounds)"
    return f"{words}; no difference below {told.seconds('resolution'):.1f} s can be told."


def _phases(judgement: Told) -> str:
    phases = judgement.rows("phases")
    names = [judgement.at(side).text("label") for side in ("a", "b")]
    if not phases:
        return "<div><h3>By phase</h3><p>No phase is known of both.</p></div>"
    sides = [(one.number("a"), one.number("b")) for one in phases]
    scale = Scale(0.0, max([value for pair in sides for value in pair if value is not None] or [1.0]))
    rows = []
    for one, (a, b) in zip(phases, sides, strict=True):
        waiting, p, share = one.text("waiting"), one.number("p"), one.number("share")
        words = f'<span class="word waits">waiting: {text(waiting)}</span>' if waiting else ""
        if one.true("significant"):
            words += '<span class="word"><strong>differs</strong>' + (f", p = {p:.2g}" if p is not None else "")
            words += (f", {100 * share:.0f} % of the whole difference" if share else "") + "</span>"
        rows.append(
            f'<tr><th scope="row">{text(one.text("name"))}{words}</th><td class="n">{_s(a)}</td>'
            f'<td class="n">{_s(b)}</td><td class="n">{_signed(one.number("seconds"))}</td>'
            f'<td class="draw">{draw.pair(scale, a, b, bool(waiting))}</td></tr>'
        )
    legend = "".join(
        f"<span>{draw.key(kind)}{side}: {text(name)}</span>" for kind, side, name in zip("ab", "AB", names, strict=True)
    )
    return (
        f'<div><h3>By phase, medians</h3><p class="legend">{legend}</p><table class="fall c4"><thead><tr>'
        '<th scope="col">phase</th><th scope="col" class="n">A</th><th scope="col" class="n">B</th>'
        f'<th scope="col" class="n">B − A</th><th scope="col" class="draw">{draw.axis(scale)}</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _changes(told: Told, judgement: Told) -> str:
    """What differs between the images, sizes first; nothing where nobody compared them."""
    if not told:
        return "<div><h3>Between the images</h3><p>They were not compared.</p></div>"
    parts = [f'<p class="soft">A: {text(told.text("a"))}<br>B: {text(told.text("b"))}</p>']
    groups = {
        title: [diff.Change(name, *_two(pair)) for name, pair in table.items()]
        for title, table in told.at("changed").items()
    }
    sizes = groups.pop(diff.SIZES, [])
    parts.append(f"<p>{_size_against_time(sizes, judgement.at('difference'))}</p>")
    if sizes:
        parts.append(_table(sizes, diff.SIZES))
    for title, changes in groups.items():
        kinds = [one.kind for one in changes]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        opened = " open" if len(changes) <= _SHOWN else ""
        parts.append(f"<details{opened}><summary>{text(title)}: {counts}</summary>{_table(changes, title)}</details>")
    if not groups and not sizes:
        parts.append("<p>No difference was found.</p>")
    if unknown := told.pairs("unknown"):
        words = ", ".join(f"{text(title)} (of {text(side)})" for title, side in unknown.items())
        parts.append(f'<p class="soft">Not known, so not compared: {words}</p>')
    return f"<div><h3>Between the images</h3>{''.join(parts)}</div>"


def _table(changes: Sequence[diff.Change], title: str) -> str:
    rows = []
    for one in changes:
        before, after = (_there(value, title) for value in (one.before, one.after))
        grown = f'<span class="word">{_percent(one.percent)}</span>' if title == diff.SIZES and one.percent else ""
        rows.append(
            f'<tr><th scope="row"><code>{text(one.name)}</code>{grown}</th><td>{before}</td><td>{after}</td></tr>'
        )
    head = '<th scope="col">what</th><th scope="col">A</th><th scope="col">B</th>'
    return f'<table class="changes"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _there(value: diff.Value, title: str) -> str:
    """A value, or that there is none; a unit has none to show and is there all the same."""
    return "–" if value is None else text(diff.shown(value, title)) or "there"


def _size_against_time(sizes: Sequence[diff.Change], difference: Told) -> str:
    """Image size against first boot: the two numbers that operators expect to go together."""
    file = next((one for one in sizes if one.name == "used"), None) or next(iter(sizes), None)
    if file is None or file.percent is None:
        size = "The images' sizes do not differ"
    else:
        size = f"Size ({text(file.name)}): {_percent(file.percent)}"
    relative = difference.number("relative")
    return f"{size}; first boot: {'not known' if relative is None else _percent(100 * relative)}."


def _two(pair: Told) -> tuple[str | int | None, str | int | None]:
    found = [one.whole() for one in pair.each()]
    return (found[0], found[1]) if len(found) == 2 else (None, None)


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s"


def _signed(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:+.1f} s".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def _span(interval: Told) -> str:
    low, high, confidence = (interval.number(key) for key in ("low", "high", "confidence"))
    if low is None and high is None:
        return "–"  # too few launches for one
    ends = " to ".join("?" if end is None else f"{end:.1f}" for end in (low, high))
    return f"{ends} s".replace("-", "−") + (f" ({100 * confidence:.1f} %)" if confidence else "")
