"""`imagecheck compare`: two series of launches, or a baseline and a series, judged offline. Files in, lines out."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagecheck.errors import UsageError
from imagecheck.launch import baseline, judge, sample, words
from imagecheck.launch.judgement import Judgement, Summary
from imagecheck.launch.sample import FINGERPRINT, Sample
from imagecheck.manifest import shown

SCHEMA = 1
EXIT = {"PASS": 0, "IMPROVED": 0, "REGRESSED": 1, "INSUFFICIENT": 3, "INCOMPARABLE": 3}
_NAME = 34  # columns of a phase's name
_NARROWEST = 72


def of_files(a: str, b: str = "", where: Sequence[str] = (), today: datetime.date | None = None) -> Judgement:
    """B against A. Each is FILE.jsonl or FILE.jsonl:LABEL, A may be a baseline (.toml); without ``b`` the other label
    of A's file is B. ``where`` (KEY=VALUE: kind or a key of the fingerprint) leaves only such samples."""
    filters = [_filter(one) for one in where]
    file, label = _split(a)
    if file.suffix == ".toml" and not label:
        if not b:
            raise UsageError(f"{a}: is a baseline: name also the samples to judge against it")
        known = baseline.load(file)
        held = dataclasses.replace(known, samples=tuple(_left(known.samples, filters)))
        return baseline.compare(held, _one_label(b, filters), today=today or datetime.datetime.now(datetime.UTC).date())
    if b:
        return judge.compare(_one_label(a, filters), _one_label(b, filters))
    found = _left(sample.read(file), filters)
    names = sample.labels(found)
    if len(names) != 2 or label not in names:
        raise UsageError(
            f"{a}: holds the labels {words.listed(names) if names else '(none)'}: name a second file, or of two labels"
            f" the one to judge against, as {file}:LABEL"
        )
    return judge.compare(*([one for one in found if (one.label == label) == first] for first in (True, False)))


def _split(text: str) -> tuple[Path, str]:
    if Path(text).exists():
        return Path(text), ""
    file, colon, label = text.rpartition(":")
    return (Path(file), label) if colon and file else (Path(text), "")


def _one_label(text: str, filters: Sequence[tuple[str, str]]) -> list[Sample]:
    file, label = _split(text)
    found = [one for one in _left(sample.read(file), filters) if one.label == label or not label]
    names = sample.labels(found)
    if len(names) != 1:
        raise UsageError(
            f"{text}: holds {f'the labels {words.listed(names)}' if names else 'no such samples'}: name one label, as"
            f" {file}:LABEL"
        )
    return found


def _filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in ("kind", *FINGERPRINT):
        raise UsageError(f"--where {text[:60]}: must be KEY=VALUE with one of the keys kind, {', '.join(FINGERPRINT)}")
    return key, value


def _left(samples: Sequence[Sample], filters: Sequence[tuple[str, str]]) -> list[Sample]:
    return [
        one
        for one in samples
        if all((one.kind if key == "kind" else one.fingerprint.get(key, "")) == value for key, value in filters)
    ]


def as_json(found: Judgement) -> str:
    """For programs; null where a number is not known. Keys: launch/judgement.py and docs/statistics.md."""
    return json.dumps({"schema": SCHEMA, **_plain(dataclasses.asdict(found))}, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return shown(value) if isinstance(value, str) else value


def lines(found: Judgement, *, phases: bool = False, width: int = 80) -> list[str]:
    """Terminal text: both labels, the verdict with its reasons, then the phases: those that changed, or all."""
    width = max(width, _NARROWEST)
    told: list[str] = []
    for side, one in (("A", found.a), ("B", found.b)):
        told += _summary(side, one, width)
    told += ["", *_wrapped(f"{found.verdict}  {found.sentence}", width)]
    for reason in found.reasons:
        told += _wrapped(f"  {reason}", width)
    rows = [one for one in found.phases if phases or one.significant]
    if rows:
        told += ["", f"{'phase':<{_NAME}} {'A':>7} {'B':>7} {'B - A':>8}  p"]
    for row in rows:
        name, *more = textwrap.wrap(shown(row.name), _NAME) or ["-"]
        mark = " *" if row.significant else ""
        told.append(f"{name:<{_NAME}} {row.a:7.1f} {row.b:7.1f} {row.seconds:+8.1f}  {words.chance(row.p)[2:]}{mark}")
        told += [f"  {part}" for part in more]
        if row.waiting:
            told += _wrapped(f"  waiting for {row.waiting}", width)
    return told


def _summary(side: str, one: Summary, width: int) -> list[str]:
    median, success = one.median_interval, one.success_interval
    sure = f" ({100 * success.low:.0f} % to {100 * success.high:.0f} %)" if success else ""
    mark = ", indicative" if one.p95_indicative else ""
    return [
        *_wrapped(f"{side}  {one.label or '-'}  n {one.count}", width),
        *_wrapped(
            f"   median {words.seconds(one.median)} ({_end(median.low)} to {_end(median.high)})  IQR"
            f" {words.seconds(one.iqr)}  p95 {words.seconds(one.p95)}{mark}", width,
        ),
        *_wrapped(f"   success {one.count - one.failed} of {one.count}{sure}", width),
    ]  # fmt: skip


def _end(value: float) -> str:
    return words.seconds(value) if math.isfinite(value) else "unknown"


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(shown(line), width, subsequent_indent="   ", break_on_hyphens=False) or [""]
