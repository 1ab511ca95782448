"""report.html: one page that stands alone, made from report.json, timings.json and launches.jsonl. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagecheck.launch.sample import Sample
from imagecheck.report.document import document, link
from imagecheck.report.html import checks, draw, launches, series, top
from imagecheck.report.html.style import STYLE
from imagecheck.report.reading import Told


def page(report: Mapping[str, Any], timings: Mapping[str, Any] | None = None, samples: Sequence[Sample] = ()) -> str:
    """The page from the two documents, as they are written or were read back, and the samples of all series.

    The documents may be anybody's: text is redacted, cleaned and escaped. Raises UsageError, naming the key, where a
    value is not of the type that docs/report.md gives it.
    """
    told, times = Told(dict(report), "report.json"), Told(dict(timings or {}), "timings.json")
    series_of = told.at("launches")
    emulated = "tcg" in (told.text("acceleration"), times.text("acceleration"))
    sections = [
        ("failures", "What failed", checks.failures(told)),
        ("launch", "Where the time went", launches.measured(times)),
        ("against", "A against B", series.against(series_of)),
        ("series", "All launches", [*series.distributions(series_of, samples), *launches.telling(samples)]),
        ("checks", "Checks", checks.by_stage(told)),
        ("injection", "Injection matrix", checks.matrix(told)),
        ("steps", "Steps of this run", checks.steps(told)),
    ]
    sections = [section for section in sections if section[2]]
    timed = next((inner for name, _, inner in sections if name in ("launch", "against", "series")), None)
    if timed and emulated:
        timed.insert(0, f'<p class="note">{top.EMULATED}</p>')
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    parts = [draw.pattern(), "<header>", *top.heading(told)]
    parts += [f'<nav aria-label="parts of this page">{links}</nav>' if links else "", "</header>", "<main>"]
    for name, title, inner in sections:
        parts += [f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>', *inner, "</section>"]
    parts += ["</main>", _files(told, bool(timings), bool(samples))]
    image = told.at("image").text("name")
    return document(f"{image}: {told.text('verdict')}", STYLE, parts)


def _files(told: Told, timings: bool, samples: bool) -> str:
    """The same for programs, and the way to the evidence."""
    saved = told.at("fault").text("evidence") or any(check.text("evidence") for check in told.rows("checks"))
    files = {
        "report.json": True, "timings.json": timings, "launches.jsonl": samples, "index.html": bool(saved),
    }  # fmt: skip
    words = {"index.html": "all evidence"}
    links = ", ".join(f'<a href="{link(name)}">{words.get(name, name)}</a>' for name, there in files.items() if there)
    return f'<footer><p class="soft unprinted">For programs, beside this page: {links}</p></footer>'
