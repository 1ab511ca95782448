"""The checks by stage, what failed with its evidence, the injection matrix, and the steps with their seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from imagecheck import injection
from imagecheck.report.document import text
from imagecheck.report.html import draw
from imagecheck.report.html.draw import Scale
from imagecheck.report.html.top import evidence, outcome
from imagecheck.report.reading import Told

_BAD = ("failed", "error")
_ORDER = (*_BAD, "known", "skipped", "passed")  # what asks for attention first


def failures(report: Told) -> list[str]:
    """Each check that failed: what it promises, why it does not hold, and where all that was saved lies."""
    rows = []
    for check in report.rows("checks"):
        if check.text("outcome") not in _BAD:
            continue
        place = evidence(check.text("evidence"))
        rows.append(
            f"<li><p><strong>{text(check.text('sentence'))}</strong></p><p>{text(check.text('cause'))}</p>"
            f'<p class="soft">{outcome(check.text("outcome"))} in stage {text(check.text("stage"))} after '
            f"{check.seconds('seconds'):.1f} s: <code>{text(check.text('id'))}</code>"
            + (f"; evidence: {place}" if place else "")
            + "</p></li>"
        )
    return [f'<ol class="failures">{"".join(rows)}</ol>'] if rows else []


def by_stage(report: Told) -> list[str]:
    """All checks, a stage behind each name; what failed stands first and open."""
    checks = report.rows("checks")
    parts = []
    for stage in dict.fromkeys(check.text("stage") for check in checks):
        mine = [check for check in checks if check.text("stage") == stage]
        mine.sort(key=lambda check: _rank(check.text("outcome")))
        outcomes = [check.text("outcome") for check in mine]
        counts = ", ".join(f"{outcomes.count(word)} {text(word)}" for word in dict.fromkeys(outcomes))
        seconds = sum(check.seconds("seconds") for check in mine)
        opened = " open" if any(word in _BAD for word in outcomes) else ""
        parts.append(
            f"<details{opened}><summary><strong>{text(stage) or 'no stage'}</strong>: {counts}, {seconds:.1f} s"
            "</summary>"
            '<table class="checks"><thead><tr><th scope="col">outcome</th><th scope="col">check</th>'
            f'<th scope="col" class="n">seconds</th></tr></thead><tbody>{"".join(map(_row, mine))}</tbody></table>'
            "</details>"
        )
    return parts


def _row(check: Told) -> str:
    said, cause = check.text("outcome"), check.text("cause")
    why = f'<span class="word">{text(cause)}</span>' if cause else ""
    return (
        f'<tr><td class="outcome">{outcome(said)}</td><th scope="row">{text(check.text("sentence"))}{why}'
        f'<span class="word"><code>{text(check.text("id"))}</code></span></th>'
        f'<td class="n">{check.seconds("seconds"):.2f}</td></tr>'
    )


def _rank(word: str) -> int:
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def matrix(report: Told) -> list[str]:
    """The injection matrix, where it was walked, and what of it is not as documented."""
    cells = [
        injection.Cell(
            cast("injection.Carrier", told.text("carrier")), told.text("content"), told.text("outcome"),
            told.text("how"), tuple(told.texts("wrong")),
        )
        for told in report.rows("injection")
    ]  # fmt: skip
    if not cells:
        return []
    rows = "".join(
        f'<tr><th scope="row">{text(content)}</th>'
        + "".join(_field(row.get(carrier, "-")) for carrier in injection.CARRIERS)
        + "</tr>"
        for content, row in injection.grid(cells).items()
    )
    head = "".join(f'<th scope="col">{carrier}</th>' for carrier in injection.CARRIERS)
    parts = [
        '<div class="scroll" tabindex="0" role="region" aria-label="injection matrix"><table><thead><tr>'
        f'<th scope="col">files</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    ]
    wrong = [
        f"<li>{text(one.content)} by {text(one.carrier)}: {text(said)}</li>" for one in cells for said in one.wrong
    ]
    if wrong:
        parts.append(f'<p class="bad">Not as documented:</p><ul class="plain">{"".join(wrong)}</ul>')
    return parts


def _field(words: str) -> str:
    return f"<td{' class=bad' if words.startswith('WRONG') else ''}>{text(words)}</td>"


def steps(report: Told) -> list[str]:
    """The steps of the road with their seconds, then what was made in the cloud and removed again."""
    told = [(one.text("step"), one.seconds("seconds")) for one in report.rows("steps")]
    parts = [_steps(told)] if told else []
    if accounting := report.text("accounting"):
        parts.append(f"<p>In the cloud: {text(accounting)}</p>")
    if left := report.texts("left"):
        rows = "".join(f"<li>{text(line)}</li>" for line in left)
        parts.append(f'<p class="bad">Left in the cloud:</p><ul class="plain">{rows}</ul>')
    return parts


def _steps(told: Sequence[tuple[str, float]]) -> str:
    scale = Scale(0.0, max(seconds for _, seconds in told))
    rows = "".join(
        f'<tr><th scope="row">{text(step)}</th><td class="n">{seconds:.1f} s</td>'
        f'<td class="draw">{draw.length(scale, seconds)}</td></tr>'
        for step, seconds in told
    )
    head = '<th scope="col">step</th><th scope="col" class="n">took</th><th scope="col" class="draw"></th>'
    return f'<table class="fall c2 steps"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
