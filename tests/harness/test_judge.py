"""Launches against launches: the verdicts, their sentences, baselines, and the command that says them."""

import dataclasses
import datetime
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import cli, compare
from imagecheck.errors import UsageError
from imagecheck.launch import baseline, judge, rounds, sample
from imagecheck.launch.sample import PhaseTime, Sample

PHASES = ("API accepted", "agent started", "broker connected", "first query")
PRINT = dict.fromkeys(sample.FINGERPRINT, "x")


def series(label, n=10, *, slower=1.0, agent=0.0, spread=0.02, fail=0, seed=1, known=PRINT, merged=0):
    """Launches of about 145 s; ``agent`` seconds more until the broker, ``fail`` of them failed. Each is a series."""
    dice, found = random.Random(ascii(f"{label}{seed}")), []
    for number in range(1, n + 1):
        times = [slower * mean * dice.lognormvariate(0, spread) for mean in (2, 20, 40, 83)]
        times[2] += agent
        phases = tuple(PhaseTime(name, one, 0.1) for name, one in zip(PHASES, times, strict=True))
        if number <= merged:
            phases = (phases[0], PhaseTime(f"{PHASES[1]} + {PHASES[2]}", times[1] + times[2], 0.1), phases[3])
        done = number > fail
        found.append(Sample(f"run of {label}", number, label, "launch", label, 1e9, sum(times), done, 0.1, phases, {},
                            known, "" if done else "kernel-panic"))  # fmt: skip
    return found


def in_rounds(old, new, drift=0.0, seed=1):
    """The two as one series in rounds, in a cloud that is slower or faster by ``drift`` in each of them."""
    dice = random.Random(seed)
    sides = [], []
    for at, both in enumerate(zip(old, new, strict=True)):
        pace = dice.lognormvariate(0, drift)
        for place, one in enumerate(dice.sample(both, 2), 1):
            times = tuple(dataclasses.replace(phase, seconds=pace * phase.seconds) for phase in one.phases)
            kept = dataclasses.replace(one, series="run", number=2 * at + place, phases=times)
            sides[one.label == new[0].label].append(dataclasses.replace(kept, seconds=pace * one.seconds))
    return sides


@pytest.mark.parametrize("seed", range(5))
def test_a_cloud_that_drifts_hides_nothing_from_rounds(seed):
    slow = in_rounds(series("old", 20), series("new", 20, agent=12, seed=2), drift=0.2, seed=seed)
    found = judge.compare(*slow)
    assert (found.verdict, found.difference.rounds) == ("REGRESSED", 20)
    assert found.difference.seconds == pytest.approx(12, abs=5)
    assert "20 rounds" in found.sentence
    assert "'broker connected' (+1" in found.sentence
    same = judge.compare(*in_rounds(series("old", 20), series("new", 20, seed=2), drift=0.2, seed=seed))
    assert same.verdict == "PASS"
    apart = [[dataclasses.replace(one, series=one.label) for one in side] for side in slow]
    assert judge.compare(*apart).verdict == "INSUFFICIENT", "all launches permuted, the drift hides it"


@pytest.mark.parametrize(("n", "counted"), [(5, 0), (7, 0), (8, 8), (10, 10)])
def test_rounds_count_from_eight_on_and_fewer_still_show_what_is_large(n, counted):
    found = judge.compare(*in_rounds(series("old", n), series("new", n, slower=2)))
    assert (found.verdict, found.difference.rounds) == ("REGRESSED", counted)


def test_ten_rounds_still_name_the_phase():
    found = judge.compare(*in_rounds(series("old"), series("new", agent=12)))
    assert "most of it in 'broker connected' (+1" in found.sentence


def test_a_round_with_one_failure_says_which_is_worse_and_one_with_two_says_nothing():
    one = judge.compare(*in_rounds(series("old", 12), series("new", 12, slower=1.2, fail=2)))
    assert (one.verdict, one.difference.rounds) == ("REGRESSED", 12)
    both = judge.compare(*in_rounds(series("old", 12, fail=2), series("new", 12, fail=2)))
    assert both.verdict in ("PASS", "INSUFFICIENT")
    assert math.isfinite(both.difference.seconds)


def test_samples_that_were_thinned_out_have_no_rounds():
    old, new = in_rounds(series("old", 20), series("new", 20))
    assert len(rounds.pairs(old, new)) == 20
    assert len(rounds.pairs(old[1:], new)) == 19
    assert rounds.pairs(old[::2], new) == []
    assert rounds.pairs(old, old) == []
    assert rounds.pairs(series("old"), series("new")) == []


def test_the_same_image_against_itself_passes():
    found = judge.compare(series("old"), series("new"))
    assert found.verdict == "PASS"
    assert "differ by less than 5 %" in found.sentence


def test_a_slower_agent_is_named_by_its_phase():
    found = judge.compare(series("old"), series("new", agent=12))
    assert found.verdict == "REGRESSED"
    assert found.sentence.startswith("new is 1")
    assert "slower than old" in found.sentence
    assert "most of it in 'broker connected' (+1" in found.sentence
    assert [one.name for one in found.phases if one.significant] == ["broker connected"]


def test_a_faster_image_improved():
    found = judge.compare(series("old"), series("new", slower=0.5))
    assert found.verdict == "IMPROVED"
    assert found.difference.relative == pytest.approx(-0.5, abs=0.05)


def test_what_is_certain_but_small_is_no_regression():
    found = judge.compare(series("old", 60), series("new", 60, slower=1.03))
    assert found.verdict == "PASS"
    assert any("too little to count" in one for one in found.reasons)


def test_polls_hide_what_is_shorter():
    old, new = (
        [dataclasses.replace(one, uncertainty=10.0) for one in side]
        for side in (series("old"), series("new", slower=1.08))
    )
    assert judge.compare(series("old"), series("new", slower=1.08)).verdict == "REGRESSED"
    found = judge.compare(old, new)
    assert found.verdict != "REGRESSED"
    assert found.difference.resolution == pytest.approx(20)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_too_few_are_told_with_how_many_more(n):
    found = judge.compare(series("old", n), series("new", n))
    assert found.verdict == "INSUFFICIENT"
    assert 1 <= found.more <= 100
    assert f"{found.more} more of each would" in found.sentence


def test_as_many_more_as_it_says_decide():
    found = judge.compare(series("old", 10, spread=0.2), series("new", 10, spread=0.2))
    assert found.verdict == "INSUFFICIENT"
    enough = 10 + 2 * found.more
    sides = [[series(label, enough, spread=0.2, seed=seed) for label in ("old", "new")] for seed in range(5)]
    verdicts = {judge.compare(*side).verdict for side in sides}
    assert "PASS" in verdicts


def test_more_failures_are_a_regression_with_their_cause():
    found = judge.compare(series("old"), series("new", fail=8))
    assert found.verdict == "REGRESSED"
    assert "8 of 10 starts" in found.sentence
    assert found.b.causes == (("kernel-panic", 8),)
    assert any("kernel-panic (8)" in one for one in found.reasons)


def test_some_failures_leave_it_open_and_one_is_told():
    assert judge.compare(series("old"), series("new", fail=3)).verdict == "INSUFFICIENT"
    one = judge.compare(series("old", 20), series("new", 20, fail=1))
    assert one.verdict == "PASS"
    assert any("may be chance" in told for told in one.reasons)


def test_all_failed_is_nothing_to_compare():
    found = judge.compare(series("old", fail=10), series("new", fail=10))
    assert (found.verdict, found.more) == ("INSUFFICIENT", 0)
    assert "nothing to compare" in found.sentence


@pytest.mark.parametrize("key", sample.FINGERPRINT)
def test_another_fingerprint_is_not_compared(key):
    found = judge.compare(series("old"), series("new", known={**PRINT, key: "y"}))
    assert found.verdict == "INCOMPARABLE"
    assert f"{key} is x against y" in found.sentence


def test_a_mixture_is_not_compared_unless_it_is_of_hosts():
    mixed = [*series("old", 5), *series("old", 5, known={**PRINT, "cache": "cold"})]
    assert judge.compare(mixed, [dataclasses.replace(one, label="new") for one in mixed]).verdict == "INCOMPARABLE"
    spread = [*series("old", 5), *series("old", 5, known={**PRINT, "host": "two"})]
    assert judge.compare(spread, [dataclasses.replace(one, label="new") for one in spread]).verdict == "PASS"


def test_an_image_that_never_starts_is_judged_though_its_host_is_unknown():
    assert judge.compare(series("old"), series("new", fail=10, known={})).verdict == "REGRESSED"


def test_phases_that_were_merged_somewhere_are_merged_everywhere():
    found = judge.compare(series("old", merged=5), series("new", agent=20))
    assert [one.name for one in found.phases] == [
        "API accepted", "agent started + broker connected", "first query",
    ]  # fmt: skip
    assert "'agent started + broker connected'" in found.sentence
    one = judge.compare(series("old", merged=1), series("new"))
    assert len(one.phases) == 4
    assert any("1 of 10 completed samples of old" in told for told in one.reasons)


NAMES = st.sampled_from(["p", "q", "p + q", "r", ""])
wild = st.builds(
    Sample,
    st.sampled_from(["s", "t"]), st.integers(1, 24), st.sampled_from(["a", "b", ""]),
    st.sampled_from(["launch", "boot"]), st.sampled_from(["", "1"]), st.just(0.0),
    st.one_of(st.sampled_from([0.0, 5.0]), st.floats(0, 1e11)),
    st.booleans(), st.floats(0, 1e11),
    st.lists(st.builds(PhaseTime, NAMES, st.floats(0, 1e11)), max_size=4).map(tuple),
    st.just({}), st.dictionaries(st.sampled_from(["host", "cache"]), st.sampled_from(["", "1"])),
)  # fmt: skip


@st.composite
def wild_rounds(draw):
    """Two labels of one series, ten rounds."""
    return [
        [dataclasses.replace(draw(wild), series="s", number=2 * at + place, label=label) for at in range(10)]
        for place, label in enumerate("ab", 1)
    ]


@given(wild_rounds())
def test_any_rounds_get_a_verdict_that_can_be_shown(sides):
    can_be_shown(*sides)


@given(st.lists(wild, max_size=12), st.lists(wild, max_size=12))
def test_any_samples_get_a_verdict_that_can_be_shown(a, b):
    can_be_shown(a, b)


def can_be_shown(a, b):
    found = judge.compare(a, b)
    assert found.verdict in compare.EXIT
    assert found.sentence
    json.loads(compare.as_json(found))
    assert max(len(line) for line in compare.lines(found, phases=True)) <= 80


# ---- files


@given(st.binary(max_size=300) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_a_file_holds_it_is_samples_or_one_sentence(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("wild") / "a.jsonl"
    file.write_bytes(content + b"\n")
    try:
        sample.read(file)
    except UsageError as error:
        assert "a.jsonl" in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from([one.name for one in dataclasses.fields(Sample)]), JSON)
def test_any_value_of_any_key_is_read_or_one_sentence(tmp_path_factory, key, value):
    table = json.loads(sample.line(series("a", 1)[0]))
    file = tmp_path_factory.mktemp("wild") / "a.jsonl"
    file.write_text(json.dumps({**table, key: value}) + "\n")
    try:
        (found,) = sample.read(file)
    except UsageError as error:
        assert "line 1" in str(error)
    else:
        judge.summarize([found])


def test_samples_come_back_as_they_were_written(tmp_path):
    for one in series("a", 3, fail=1):
        sample.append(tmp_path / "a.jsonl", one)
    assert sample.read(tmp_path / "a.jsonl") == series("a", 3, fail=1)


def written(folder, name, *samples):
    (folder / name).write_text("".join(sample.line(one) + "\n" for one in samples))
    return str(folder / name)


BASELINE = """samples = "base.jsonl"
reviewed = 2026-01-10
reason = "the first release"
expires = 2026-04-10
ceiling = 100
[fingerprint]
flavor = "x"
"""


def based(folder, text=BASELINE, known=PRINT):
    written(folder, "base.jsonl", *series("base", known=known))
    (folder / "base.toml").write_text(text)
    return baseline.load(folder / "base.toml")


def test_a_baseline_judges_until_it_expires(tmp_path):
    known = based(tmp_path)
    last, after = datetime.date(2026, 4, 10), datetime.date(2026, 4, 11)
    found = baseline.compare(known, series("new", agent=15), today=last)
    assert found.verdict == "REGRESSED"
    assert any("not judged without KVM" in one for one in found.reasons)
    late = baseline.compare(known, series("new", agent=15), today=after)
    assert late.verdict == "INCOMPARABLE"
    assert "expired on 2026-04-10" in late.sentence


def test_a_ceiling_holds_on_kvm_only(tmp_path):
    kvm = {**PRINT, "acceleration": "kvm"}
    known = based(tmp_path, known=kvm)
    found = baseline.compare(known, series("new", known=kvm), today=datetime.date(2026, 2, 1))
    assert found.verdict == "REGRESSED"
    assert "above the ceiling of 100.0 s" in found.sentence


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('samples = "base.jsonl"', 'samples = "gone.jsonl"', "gone.jsonl"),
        ("reviewed = 2026-01-10", "", "'reviewed' is missing"),
        ("expires = 2026-04-10", 'expires = "soon"', "'expires' is wrong"),
        ("ceiling = 100", "ceiling = -1", "'ceiling' is wrong"),
        ('flavor = "x"', 'flavor = "y"', "fingerprint.flavor"),
        ('flavor = "x"', 'color = "y"', "'fingerprint' is wrong"),
        ("ceiling = 100", 'label = "other"', "'label'"),
        ("ceiling = 100", "cieling = 100", "'cieling' is unknown"),
        ("[fingerprint]", "[fingerprint", "is no TOML"),
    ],
)
def test_a_wrong_baseline_is_one_sentence(tmp_path, old, new, named):
    with pytest.raises(UsageError, match=r"\.(toml|jsonl)") as told:
        based(tmp_path, BASELINE.replace(old, new))
    assert named in str(told.value)


# ---- the command


@pytest.mark.parametrize(
    ("change", "code"), [({}, 0), ({"slower": 0.5}, 0), ({"agent": 20}, 1), ({"n": 2}, 3), ({"known": {}}, 3)]
)
def test_exit_codes_are_the_verdicts(tmp_path, capsys, change, code):
    a, b = written(tmp_path, "a.jsonl", *series("old")), written(tmp_path, "b.jsonl", *series("new", **change))
    assert cli.main(["compare", a, b]) == code
    told = capsys.readouterr().out
    assert "A  old  n 10" in told
    assert "p95" in told
    assert "indicative" in told
    assert max(map(len, told.splitlines())) <= 80


def test_one_file_of_two_labels_says_which_is_judged_against(tmp_path, capsys):
    both = written(tmp_path, "both.jsonl", *series("new", agent=20), *series("old"))
    assert cli.main(["compare", both]) == 2
    assert "both.jsonl:LABEL" in capsys.readouterr().err
    assert cli.main(["compare", f"{both}:old", "--phases", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["verdict"], told["a"]["label"]) == (1, "REGRESSED", "old")
    assert cli.main(["compare", f"{both}:new", f"{both}:old"]) == 0


def test_where_leaves_some_samples_out(tmp_path):
    cold = {**PRINT, "cache": "cold"}
    a = written(tmp_path, "a.jsonl", *series("old"), *series("old", known=cold))
    b = written(tmp_path, "b.jsonl", *series("new"), *series("new", known=cold))
    assert cli.main(["compare", a, b]) == 3
    assert cli.main(["compare", a, b, "--where", "cache=cold"]) == 0
    assert cli.main(["compare", a, b, "--where", "colour=cold"]) == 2


def test_a_control_character_in_a_label_does_not_reach_the_terminal(tmp_path, capsys):
    a, b = written(tmp_path, "a.jsonl", *series("\x1b[2J")), written(tmp_path, "b.jsonl", *series("new\ud800"))
    assert cli.main(["compare", a, b]) == 0
    assert "\x1b" not in capsys.readouterr().out
