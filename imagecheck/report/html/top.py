"""What is read first: the verdict, the cause, the subject and its circumstances."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from imagecheck.errors import Cause
from imagecheck.report.document import link, moment, text
from imagecheck.report.facts import Fault
from imagecheck.report.reading import Told

# Verdict of a run or of A against B -> its class and its sign: colour alone tells nobody enough.
_LOOKS: Final = {
    "passed": ("good", "✓"), "flaky": ("odd", "~"), "failed": ("bad", "✗"), "known to fail": ("odd", "!"),
    "nothing checked": ("odd", "–"), "PASS": ("good", "✓"), "IMPROVED": ("good", "↓"), "REGRESSED": ("bad", "↑"),
    "INSUFFICIENT": ("odd", "?"), "INCOMPARABLE": ("odd", "≠"), "skipped": ("odd", "–"), "error": ("bad", "✗"),
    "known": ("odd", "!"),
}  # fmt: skip
EMULATED: Final = "Emulated (tcg): seconds say where time goes, not how long it takes on hardware."


def badge(verdict: str) -> str:
    """A verdict in its colour, with its sign."""
    return f'<span class="badge {_look(verdict)[0]}">{_look(verdict)[1]} {text(verdict) or "no verdict"}</span>'


def outcome(word: str) -> str:
    """The outcome of a check, likewise."""
    return f'<span class="{_look(word)[0]}">{_look(word)[1]} {text(word)}</span>'


def _look(word: str) -> tuple[str, str]:
    return _LOOKS.get(word, ("odd", "?"))


def heading(report: Told) -> list[str]:
    """Name, verdict with its counts, the sentence of A against B, the cause, the subject."""
    name = report.at("image").text("name") or "an image"
    counts = {what: int(number) for what, number in report.numbers("counts").items()}
    told = ", ".join(f"{number} {text(what)}" for what, number in counts.items())
    parts = [
        f"<h1>{text(name)}</h1>",
        f'<p class="verdict">{badge(report.text("verdict"))}<span>{told or "no checks"}</span></p>',
    ]
    judgement = report.at("launches").at("judgement")
    if judgement:
        parts.append(
            f'<p class="verdict">{badge(judgement.text("verdict"))}<span>{text(judgement.text("sentence"))}</span></p>'
        )
    if fault := report.at("fault"):
        parts.append(_cause(fault_of(fault)))
    for again in report.rows("retried"):
        parts.append(
            f'<p class="note">Tried again: {text(again.text("step"))}, for {text(again.text("sentence"))}'
            f" ({text(again.text('cause'))}); the second time it "
            f"{'passed' if again.true('passed') else 'failed too'}.</p>"
        )
    return [*parts, _facts(report)]


def fault_of(told: Told) -> Fault:
    """As the run had it."""
    known, cause = told.at("known"), None
    if known:
        cause = Cause(
            known.text("id"), known.text("stage"), known.text("class"), known.text("confidence"),
            known.text("sentence"), known.text("remedy"), known.text("source"), known.text("seen"),
            known.text("where"), also=tuple(known.texts("also")),
        )  # fmt: skip
    return Fault(
        told.text("step"), told.text("sentence"), told.text("seen"), told.text("remedy"), told.text("evidence"),
        told.text("cause"), cause,
    )  # fmt: skip


def folder_name(path: str) -> str:
    """The last part of the evidence's path: it lies beside this page."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def evidence(folder: str) -> str:
    """A link to the page in a folder of evidence."""
    return f'<a href="{link(folder, "index.html")}">{text(folder)}</a>' if folder else ""


def _cause(fault: Fault) -> str:
    known = fault.known if fault.known and fault.known.known else None
    rows = [
        ("where", text(fault.step)),
        ("kind of fault", text(fault.kind)),
        ("cause", text(fault.cause)),
        ("seen in", text(fault.seen)),
        ("try", text(fault.remedy or (fault.known.remedy if fault.known else ""))),
        ("documented", text(known.source if known else "")),
        ("shows too", text(", ".join(known.also) if known else "")),
        ("evidence", evidence(folder_name(fault.evidence))),
    ]
    said = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in rows if value)
    return f'<section class="cause" aria-label="the cause"><h3>{text(fault.sentence)}</h3><dl>{said}</dl></section>'


def _facts(report: Told) -> str:
    started, ended = _when(report.text("started")), _when(report.text("ended"))
    cloud = report.text("cloud")
    place = f"sandbox ({cloud})" if report.true("sandbox") and cloud else "sandbox" if report.true("sandbox") else cloud
    rows = [
        ("datastore", report.text("datastore")),
        ("OpenStack", report.text("release")),
        ("cloud", place),
        ("acceleration", {"tcg": "tcg: emulated"}.get(report.text("acceleration"), report.text("acceleration"))),
        ("started", moment(started) if started is not None else report.text("started")),
        ("took", _long(ended - started) if started is not None and ended is not None else ""),
        ("imagecheck", report.text("imagecheck")),
    ]
    said = "".join(f"<div><dt>{label}</dt><dd>{text(value)}</dd></div>" for label, value in rows if value)
    if digest := report.at("image").text("sha256"):
        said += f'<div class="digest"><dt>sha256 of the file</dt><dd><code>{text(digest)}</code></dd></div>'
    return f'<dl class="facts">{said}</dl>'


def _when(iso: str) -> float | None:
    try:
        return datetime.fromisoformat(iso).timestamp() if iso else None
    except (ValueError, OverflowError, OSError):
        return None


def _long(seconds: float) -> str:
    """8 min 55 s; tenths where it was short."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
