"""What gc may remove: nothing that is not proven ours, whatever else it looks like. Pure."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imagecheck.cloud import garbage, marks
from imagecheck.cloud.cleanup import KINDS
from imagecheck.cloud.garbage import Found, Known, judge, run_of
from imagecheck.cloud.inventory import LISTS

NOW = 1_800_000_000.0
OLD = NOW - 30 * 86400
# The same in every worker of pytest-xdist: they are in the tests' ids.
RUN, OTHER, THIRD = (
    f"{marks.new_run(OLD + later)[:-6]}{digits}" for later, digits in ((0, "a1b2c3"), (5, "d4e5f6"), (9, "070809"))
)
DEAD = {RUN: Known(RUN, alive=False)}


def ours(kind, run=RUN, **more):
    """A thing as imagecheck makes it."""
    match kind:
        case "server":
            more = {"carried": {marks.TAG: run}} | more
        case "image":
            more = {"carried": {marks.RUN: run}, "tags": frozenset({marks.TAG, run})} | more
        case "security_group":
            more = {"said": f"imagecheck {run}: removed after the run", "tags": frozenset({marks.TAG, run})} | more
        case "port" | "volume":
            return Found(kind, f"{kind}-id", "trove-an-instance", **more)
    return Found(kind, f"{kind}-id", run, **more)


def verdict(found, known=DEAD, **more):
    return judge([found], known, NOW, instances={"an-instance": RUN}, **more)[0]


ALL = [ours(kind) for kind in garbage.PROOFS]


def test_every_kind_that_is_listed_has_a_proof_and_a_remover():
    assert set(LISTS) == set(garbage.PROOFS)
    assert set(LISTS) <= set(KINDS)


# ---- what goes


@pytest.mark.parametrize("found", ALL, ids=lambda one: one.kind)
def test_what_a_dead_run_made_goes(found):
    assert verdict(found).remove


@pytest.mark.parametrize("found", ALL, ids=lambda one: one.kind)
def test_it_goes_without_a_ledger_when_its_time_is_over(found):
    assert verdict(found, known={}).remove


def test_a_second_server_and_a_snapshot_of_a_run_are_its_own():
    for name in (f"{RUN}-metadata", f"{RUN}-disk"):
        assert run_of(Found("server", "1", name, carried={marks.TAG: RUN})) == RUN
        assert run_of(Found("image", "1", name, carried={marks.TAG: RUN, marks.RUN: RUN})) == RUN


def test_what_trove_made_for_an_instance_goes_with_it():
    found = [
        Found("instance", "i-1", RUN),
        Found("server", "s-1", RUN, carried={garbage.INSTANCE: "i-1"}),
        Found("port", "p-1", "trove-i-1"),
        Found("port", "p-2", "trove-i-2"),
        Found("volume", "v-1", "trove-i-1"),
        Found("security_group", "g-1", "trove_sg-i-1", said="anything"),
        Found("security_group", "g-2", "trove_sg-i-2"),
    ]
    told = judge(found, DEAD, NOW)
    assert [one.found.id for one in told if not one.remove] == ["p-2", "g-2"]


def test_a_server_tells_whose_its_vanished_instance_was():
    found = [Found("server", "s-1", RUN, carried={garbage.INSTANCE: "i-1"}), Found("port", "p-1", "trove-i-1")]
    assert all(one.remove for one in judge(found, DEAD, NOW))


# ---- what stays


@pytest.mark.parametrize("found", ALL, ids=lambda one: one.kind)
def test_a_living_runs_things_stay_even_when_it_is_named(found):
    alive = {RUN: Known(RUN, alive=True, by="process 7 on here")}
    for only in ("", RUN):
        told = verdict(found, alive, only=only)
        assert not told.remove
        assert "process 7 on here" in told.reason


@pytest.mark.parametrize("found", ALL, ids=lambda one: one.kind)
def test_what_is_kept_stays_until_its_time_or_until_it_is_named(found):
    kept = {RUN: Known(RUN, alive=False, kept=NOW + 1)}
    assert "keeps it until" in verdict(found, kept).reason
    assert verdict(found, kept, only=RUN).remove
    assert verdict(found, {RUN: Known(RUN, alive=False, kept=NOW - 1)}).remove


@pytest.mark.parametrize("found", ALL, ids=lambda one: one.kind)
def test_nothing_of_another_run_goes_when_one_is_named(found):
    assert not verdict(found, only=OTHER).remove


def test_without_a_ledger_a_run_has_its_time():
    young = marks.new_run(NOW - marks.TTL + 60)
    for kind in ("instance", "server", "datastore_version", "image", "keypair", "security_group"):
        told = verdict(ours(kind, young), known={})
        assert not told.remove, kind
        assert "no ledger here" in told.reason
        assert verdict(ours(kind, young), known={}, only=young).remove
        assert judge([ours(kind, young)], {}, NOW + 61)[0].remove


@pytest.mark.parametrize(
    "newest",
    [
        Found("server", "s", RUN, carried={marks.TAG: RUN, marks.UNTIL: marks.stamp(NOW + 60)}),
        Found("image", "s", RUN, carried={marks.RUN: RUN, marks.UNTIL: marks.stamp(NOW + 60)}),
        ours("security_group", tags=frozenset({f"{marks.UNTIL}={marks.stamp(NOW + 60)}"})),
    ],
    ids=lambda one: one.kind,
)
def test_the_newest_thing_of_a_run_protects_all_of_it(newest):
    told = judge([Found("keypair", RUN, RUN), newest], {}, NOW)
    assert not any(one.remove for one in told)
    assert all(one.remove for one in judge([Found("keypair", RUN, RUN), newest], {}, NOW + 61))
    # Somebody else's thing with such a mark protects nothing.
    stranger = Found(newest.kind, "x", "x", carried=newest.carried, tags=newest.tags)
    assert judge([Found("keypair", RUN, RUN), stranger], {}, NOW)[0].remove


def test_what_is_younger_than_asked_for_stays():
    run = marks.new_run(NOW - 3600)
    known = {run: Known(run, alive=False)}
    assert not judge([ours("keypair", run)], known, NOW, older_than=3601)[0].remove
    assert judge([ours("keypair", run)], known, NOW, older_than=3599)[0].remove
    late = ours("server", run, created=NOW - 10)
    assert not judge([late], known, NOW, older_than=60)[0].remove


@pytest.mark.parametrize(
    "found",
    [
        Found("server", "1", RUN),  # a name alone is no proof where there is metadata
        Found("server", "1", RUN, carried={marks.TAG: OTHER}),
        Found("server", "1", OTHER, carried={marks.TAG: RUN}),
        Found("server", "1", "web-1", carried={marks.TAG: RUN}),
        Found("server", "1", f"x{RUN}", carried={marks.TAG: RUN}),
        Found("server", "1", f"{RUN}x", carried={marks.TAG: RUN}),
        Found("server", "1", "db-1", carried={garbage.INSTANCE: "an-other"}),
        Found("server", "1", RUN, carried={garbage.INSTANCE: "an-other", marks.TAG: OTHER}),
        Found("image", "1", RUN),
        Found("image", "1", RUN, tags=frozenset({marks.TAG, RUN})),
        Found("image", "1", RUN, carried={marks.RUN: RUN}, tags=frozenset({OTHER})),
        Found("image", "1", "golden", carried={marks.RUN: RUN}),
        Found("keypair", "1", f"{RUN}-copy"),
        Found("keypair", "1", "imagecheck"),
        Found("keypair", "1", "imagecheck-999999-000000-abcdef"),  # no such day
        Found("keypair", "1", "imagecheck-260101-000000-ABCDEF"),
        Found("security_group", "1", RUN),
        Found("security_group", "1", RUN, said=f"imagecheck {OTHER}: removed after the run"),
        Found("port", "1", "trove-somebody-elses"),
        Found("port", "1", RUN),
        Found("volume", "1", "trove-"),
        Found("datastore", "mariadb", RUN),
        Found("flavor", "1", RUN),
        Found("network", "1", RUN),
    ],
    ids=lambda one: f"{one.kind} {one.name}",
)
def test_what_is_not_proven_ours_stays(found):
    everything = {run: Known(run, alive=False) for run in (RUN, OTHER)}
    told = judge([found], everything, NOW * 2, instances={"an-instance": RUN})[0]
    assert (told.remove, told.run) == (False, "")


# ---- whatever else

words = st.text(string.ascii_letters + string.digits + "-_ ./:=é", max_size=40)
runs = st.sampled_from([RUN, OTHER, THIRD])
wild = st.builds(
    Found,
    st.sampled_from([*garbage.PROOFS, "datastore", "flavor", "network", "subnet", "router", "server_group"]),
    words,
    st.one_of(words, runs, st.builds("{}{}".format, runs, words), st.builds("trove-{}".format, words)),
    created=st.floats(0, NOW * 2),
    carried=st.dictionaries(
        st.one_of(words, st.sampled_from([marks.TAG, marks.RUN, marks.UNTIL, garbage.INSTANCE])),
        st.one_of(words, runs),
        max_size=4,
    ),
    tags=st.frozensets(st.one_of(words, runs, st.just(marks.TAG)), max_size=4),
    said=st.one_of(words, st.builds("imagecheck {}: removed after the run".format, runs)),
)


def carries(found):
    """All words on a thing."""
    return " ".join([found.name, found.said, *found.tags, *found.carried, *found.carried.values()])


@given(st.lists(wild, max_size=6), st.booleans(), st.floats(0, 1e6), st.floats(0, NOW * 3))
def test_nothing_goes_that_has_no_run_of_ours_on_it(found, known, older_than, now):
    told = judge(found, DEAD if known else {}, now, older_than=older_than)
    assert [one.found for one in told] == found
    owned = garbage.instances_of(found)
    for one in told:
        if one.remove:
            belongs = one.found.name.removeprefix("trove-").removeprefix("trove_sg-") in owned
            assert marks.run_in(one.found.name) or belongs
            assert one.run in carries(one.found) or belongs


@given(wild, st.sampled_from([RUN, OTHER, ""]))
def test_of_a_living_run_nothing_goes_ever(found, only):
    alive = {run: Known(run, alive=True) for run in (RUN, OTHER)}
    told = judge([found], alive, NOW * 2, only=only)[0]
    assert not (told.remove and told.run in alive)


@given(wild, st.floats(0, NOW * 2))
def test_nothing_goes_before_what_it_carries_says(found, now):
    told = judge([found], {}, now)[0]
    assert not (told.remove and now < max(found.until, marks.began(told.run) + marks.TTL))


@given(st.lists(wild, max_size=5), wild)
def test_what_else_there_is_never_makes_a_strangers_thing_ours(found, more):
    assume(more.kind not in ("instance", "server"))  # these tell whose a port is
    alone, beside = judge(found, DEAD, NOW * 2), judge([*found, more], DEAD, NOW * 2)
    assert not [one for one, other in zip(alone, beside, strict=False) if other.remove and not one.remove]


@given(words)
def test_a_wild_name_is_no_runs(text):
    assert marks.run_in(text) == ""
    assert marks.began(text) == 0.0
    assert marks.moment(text) == 0.0


@given(st.floats(0, 4e9))
def test_a_runs_name_tells_when_it_began(moment):
    run = marks.new_run(moment % 2e9 + 946_684_800)
    assert marks.run_in(f"{run}-disk") == marks.run_in(run) == run
    assert abs(marks.moment(marks.stamp(moment)) - moment) < 1
    assert abs(marks.began(run) - (moment % 2e9 + 946_684_800)) < 1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400)])
def test_a_length_of_time(text, seconds):
    assert marks.duration(text, "--keep-for") == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "0h", "2 h", "1.5h", "2w", "999999999d", "²h", "2h "[:2] + "x"])
def test_what_is_no_length_of_time_is_one_sentence(text):
    with pytest.raises(marks.UsageError, match="--keep-for .*for example 2h"):
        marks.duration(text, "--keep-for")
