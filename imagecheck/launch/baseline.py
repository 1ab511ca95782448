"""A baseline: reviewed samples that later ones are judged against, as a file beside them.

samples = "mariadb-debian.jsonl"   # beside this file
label = "mariadb-debian"           # which of its labels; may be left out where it has one
reviewed = 2026-11-20
reason = "first release with MariaDB 11.8"
expires = 2027-02-20
ceiling = 120                      # seconds of the median; may be left out; not judged under emulation
[fingerprint]                      # what the review saw; must be the samples' own
flavor = "ic.small"
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagecheck.errors import UsageError
from imagecheck.launch import judge, sample, words
from imagecheck.launch.judgement import Judgement
from imagecheck.launch.sample import FINGERPRINT, Sample

_KEYS = ("samples", "label", "reviewed", "reason", "expires", "ceiling", "fingerprint")
_OPTIONAL = {"label": "", "ceiling": 0}


@dataclass(frozen=True)
class Baseline:
    """What was reviewed, when and why; ``ceiling`` in seconds, 0 for none."""

    path: Path
    samples: tuple[Sample, ...]
    reviewed: datetime.date
    reason: str
    expires: datetime.date
    fingerprint: Mapping[str, str]
    ceiling: float = 0.0

    def expired(self, today: datetime.date) -> bool:
        """The day named is the last one on which it holds."""
        return today > self.expires


def load(path: Path) -> Baseline:
    """Read a baseline and its samples. UsageError names file, key and remedy."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}): give a baseline (.toml)") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is no TOML ({error}): mend it") from error
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"{path}: key '{key[:60]}' is unknown: a baseline has {', '.join(_KEYS)}")
    values = {key: _value(path, key, table.get(key, _OPTIONAL.get(key))) for key in _KEYS}
    samples = [
        one
        for one in sample.read(path.parent / values["samples"])
        if one.label == values["label"] or not values["label"]
    ]
    found = sample.labels(samples)
    if len(found) != 1:
        raise UsageError(
            f"{path}: key 'label' must name one of the labels in {values['samples']}: it has"
            f" {words.listed(found) if found else 'no samples of that label'}"
        )
    for key, told in values["fingerprint"].items():
        others = {one.fingerprint.get(key, "") for one in samples if one.completed} - {told}
        if others:
            raise UsageError(
                f"{path}: fingerprint.{key} is '{told}', but the samples say '{words.listed(sorted(others))}': review"
                " them, then write what they say"
            )
    return Baseline(
        path, tuple(samples), values["reviewed"], values["reason"], values["expires"], values["fingerprint"],
        float(values["ceiling"]),
    )  # fmt: skip


def _value(path: Path, key: str, value: Any) -> Any:
    """The value of a key as it must be."""
    if key in ("samples", "reason", "label"):
        wanted, good = "one line of text", isinstance(value, str) and value.isprintable()
        good = good and (bool(value.strip()) or key == "label")
    elif key in ("reviewed", "expires"):
        wanted, good = "a date, as 2026-11-20", type(value) is datetime.date
    elif key == "ceiling":
        good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
        wanted = "seconds"
    else:
        wanted = f"a table of texts with the keys {', '.join(FINGERPRINT)}"
        good = isinstance(value, dict) and all(
            key in FINGERPRINT and isinstance(one, str) for key, one in value.items()
        )
    if not good:
        raise UsageError(f"{path}: key '{key}' {'is missing' if value is None else 'is wrong'}: it must be {wanted}")
    return value


def compare(
    baseline: Baseline,
    samples: Sequence[Sample],
    *,
    today: datetime.date,
    p: float = judge.P,
    effect: float = judge.EFFECT,
) -> Judgement:
    """Samples against a baseline: INCOMPARABLE once it has expired, REGRESSED also above its ceiling."""
    found = judge.compare(baseline.samples, samples, p=p, effect=effect)
    if baseline.expired(today):
        sentence = (
            f"the baseline {baseline.path.name} (reviewed {baseline.reviewed}: {baseline.reason}) expired on"
            f" {baseline.expires}: measure and review it again"
        )
        return replace(found, verdict="INCOMPARABLE", sentence=sentence, reasons=(), more=0)
    if not baseline.ceiling or found.verdict == "INCOMPARABLE":
        return found
    if any(one.fingerprint.get("acceleration") != "kvm" for one in samples):
        told = f"the ceiling of {words.seconds(baseline.ceiling)} is not judged without KVM: only ratios are"
        return replace(found, reasons=(*found.reasons, told))
    low = found.b.median_interval.low
    if math.isfinite(low) and low > baseline.ceiling:
        sentence = (
            f"{found.b.label} takes {words.seconds(found.b.median)} (at least {words.seconds(low)} with 95 %), above the"
            f" ceiling of {words.seconds(baseline.ceiling)} in {baseline.path.name}"
        )
        return replace(found, verdict="REGRESSED", sentence=sentence, reasons=(found.sentence, *found.reasons), more=0)
    return found
