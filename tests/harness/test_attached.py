"""--attach: which kept run is meant, and what a road on it may do. Nova and Trove answer here what a test says."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from imagecheck import attached, cli, kept
from imagecheck.attached import Attached
from imagecheck.choice import Choice
from imagecheck.cloud import cleanup, collection, datastore, marks, nova, trove
from imagecheck.cloud import ledger as ledgers
from imagecheck.cloud.collection import collect_garbage
from imagecheck.cloud.connection import Missing
from imagecheck.cloud.ledger import Ledger
from imagecheck.definition import known, load
from imagecheck.errors import Cause, NotReached, StepFailed, UsageError
from imagecheck.imagefile import ImageFile
from imagecheck.kept import Keep, Memory
from imagecheck.report import Folder
from imagecheck.site import Site

RUN = marks.new_run(time.time())
SHA = "ab" * 32
DEFINITION = load("mariadb-debian")
STORE = f"{DEFINITION.datastore.name}:{DEFINITION.datastore.version}"
SITE = Site(cloud="prod", tenant_cloud="tenant")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OS_CLOUD", raising=False)
    monkeypatch.setattr(collection.host, "collect", lambda *_, **__: ([], []))  # what else lies on this host
    return tmp_path / "home"


@pytest.fixture
def removed(monkeypatch):
    done = []
    monkeypatch.setattr(cleanup, "remove", lambda _cloud, entry, _ids: done.append(entry.kind) or "")
    return done


def dies(ledger):
    """Its process is gone: the pid is another's by now."""
    text = ledger.path.read_text()
    ledger.path.write_text(text.replace(f'"started": "{ledger.owner.started}"', '"started": "1"'))


@pytest.fixture
def leave(tmp_path, home):
    """Keep a run as its end does, and let its process die."""

    def leave(run=RUN, things=("server", "instance"), seconds=3600.0, site=SITE, dead=True):
        ledger = Ledger.new(run, site)
        for kind in ("keypair", "image", *things):
            ledger.made(ledger.intend(kind, run), f"{kind}-{run[-6:]}")
        (key := tmp_path / "id_ed25519").write_text("private")
        ground = SimpleNamespace(
            cloud=SimpleNamespace(site=site), ledger=ledger, run=run, key=key, definition=DEFINITION,
            where=SimpleNamespace(management=SimpleNamespace(name="mgmt")),
        )  # fmt: skip
        memory = Memory("mariadb-debian", SHA, STORE, ("--image", "mariadb-debian", "--cloud", "prod"), "s3cret-word")
        kept._keep(ground, Keep("always", seconds), memory)
        if dead:
            dies(ledger)
        return ledger

    return leave


@pytest.fixture(autouse=True)
def cloud(monkeypatch):
    """Whatever is asked for is there."""
    shown = SimpleNamespace(address=lambda _: "10.0.0.7", server_id="troves-server")
    monkeypatch.setattr(nova, "show", lambda *_: shown)
    monkeypatch.setattr(trove, "show", lambda *_: shown)
    return SimpleNamespace(site=SITE)


# ---- which run


def test_a_run_is_found_by_its_name_and_by_the_ids_of_what_it_kept(leave):
    leave()
    found = attached.find(RUN)
    assert [one.kind for one in found.things] == ["instance", "server"]
    assert found.memory.password == "s3cret-word"
    for kind, other in (("server", "instance"), ("instance", "server")):
        found = attached.find(f"{kind}-{RUN[-6:]}")
        assert (found.run, found.thing(other)) == (RUN, None)
        assert found.thing(kind).id == f"{kind}-{RUN[-6:]}"


def test_what_is_no_kept_run_is_told_with_those_that_there_are(leave):
    with pytest.raises(UsageError, match=r"--attach nothing: is no kept run, .* \(none is kept on this host\)$"):
        attached.find("nothing")
    leave()
    with pytest.raises(UsageError, match=rf"\(there are: {RUN}\)$"):
        attached.find("nothing")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"dead": False}, r"is at work \(process \d+ on "),
        ({"seconds": -5.0}, r"was kept until \S+, which is over: `imagecheck gc` removes it; --keep-for"),
        ({"things": ()}, "kept no server and no instance"),
    ],
)
def test_a_run_that_cannot_be_gone_on_with_says_why(leave, how, sentence):
    leave(**how)
    with pytest.raises(UsageError, match=sentence):
        attached.find(RUN)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"image": 1}', '{"words": 3}'])
def test_a_damaged_memory_is_one_sentence(leave, home, text):
    leave()
    (home / "kept" / RUN / kept.MEMORY).write_text(text)
    with pytest.raises(UsageError, match=r"run\.json: does not tell what was kept"):
        attached.find(RUN)


def image(sha, **more):
    return Choice("mine", replace(DEFINITION, **more), ImageFile("x", "raw", 1, 1, sha, {}))


def test_another_image_is_refused_and_the_right_command_told(leave, monkeypatch):
    leave()
    found = attached.find(RUN)
    found.fits(image(SHA))
    with pytest.raises(UsageError) as raised:
        found.fits(image("cd" * 32))
    assert f"was kept with another image: of 'mariadb-debian', SHA-256 {SHA}; that of 'mine' is {'cd' * 32}" in str(
        raised.value
    )
    assert f"`pytest --image mariadb-debian --cloud prod --attach {RUN}`" in str(raised.value)
    with pytest.raises(UsageError, match=f"serves {STORE}, not mariadb:1"):
        found.fits(image(SHA, datastore=replace(DEFINITION.datastore, version="1")))
    # What would have to be built first is another one for certain, and what is fetched is told once it is there.
    monkeypatch.setattr(attached.build, "cached", lambda _: None)
    with pytest.raises(UsageError, match="is none, for it is not built in its present form"):
        found.fits(Choice("mine", DEFINITION, None))
    found.fits(Choice("mine", replace(DEFINITION, image_source="glance:x"), None))


def test_another_cloud_is_refused(leave, tmp_path):
    leave()
    found = attached.find(RUN)
    found.on(SITE)
    with pytest.raises(UsageError, match="is on the cloud 'prod', not 'test'"):
        found.on(Site(cloud="test", tenant_cloud="test"))
    with pytest.raises(UsageError, match=rf"is on the cloud 'prod', not 'prod' of {tmp_path}"):
        found.on(Site(cloud="prod", tenant_cloud="prod", clouds_file=tmp_path))
    with pytest.raises(UsageError, match="is on the cloud 'prod': say `pytest .* --cloud prod"):
        found.at_hand(running=True)


def test_no_sandbox_is_started_for_what_ended_with_it(leave):
    leave(site=replace(SITE, sandbox=True))
    found = attached.find(RUN)
    found.at_hand(running=True)
    with pytest.raises(UsageError, match="its sandbox is not up, and its servers ended with it"):
        found.at_hand(running=False)


def test_another_region_is_refused(leave):
    leave(site=replace(SITE, region="One"))
    with pytest.raises(UsageError, match="is in the region 'One', not in 'Two': set OS_REGION_NAME=One"):
        attached.find(RUN).there(SimpleNamespace(site=replace(SITE, region="Two")))


def test_what_is_gone_from_the_cloud_is_named(leave, cloud, monkeypatch):
    leave()

    def gone(*_):
        raise Missing("not found")

    monkeypatch.setattr(nova, "show", gone)
    with pytest.raises(UsageError, match=rf"its server server-\S+ is gone from the cloud: `imagecheck gc --run {RUN}`"):
        attached.find(RUN).there(cloud)


# ---- whose it is


def test_only_one_run_goes_on_with_it_and_gc_waits_for_its_end(leave, removed):
    leave(seconds=1.0)
    one, other = attached.find(RUN), attached.find(RUN)
    one.ledger.adopt()
    with pytest.raises(UsageError, match=rf"{RUN} is at work \(process \d+ on "):
        other.ledger.adopt()
    with pytest.raises(UsageError, match="is at work"):
        attached.find(RUN)
    time.sleep(1.1)
    assert collect_garbage(run=RUN).gone == 0
    dies(ledgers.read(one.ledger.path))
    read = ledgers.read(one.ledger.path)
    assert (read.owner.run, read.kept, len(read.open)) == (RUN, one.ledger.kept, 5)


def test_what_gc_has_just_removed_is_told(leave):
    found = (leave(), attached.find(RUN))[1]
    found.ledger.path.unlink()
    with pytest.raises(UsageError, match="has just been removed"):
        found.ledger.adopt()


# ---- the road


@pytest.fixture
def road(leave, cloud, tmp_path, monkeypatch):
    """A road that has entered its cloud."""
    roads = []

    def enter(keep=None, things=("server", "instance"), named=RUN):
        leave(things=things)
        found = attached.find(named)
        one = Attached(found, image(SHA), lambda: SITE, Folder(tmp_path / "report"), keep=keep, words=("--image", "x"))
        key, ledger = one._begin(cloud)
        where = SimpleNamespace(management=SimpleNamespace(name="mgmt"), tenant=SimpleNamespace(name="tenant"))
        one._made["cloud"] = SimpleNamespace(
            cloud=cloud, ledger=ledger, run=one.run, key=key, definition=DEFINITION, where=where
        )
        roads.append(one)
        return one

    yield enter
    for one in roads:
        one._made.pop("cloud", None)
        one.close()


def test_the_keys_are_the_kept_ones_and_nothing_is_added_to_them(road, home):
    one = road()
    assert one.run == RUN
    assert one.ground.key.read_text() == "private"
    assert one.ground.key.parent != home / "kept" / RUN
    assert one.ground.key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("step", "things", "sentence"),
    [
        ("server", ("instance",), f"not reached: Nova server: {RUN} has no server that was kept, and nothing is made"),
        ("launch", ("server",), f"not reached: Trove instance: {RUN} has no instance that was kept"),
        ("image", ("server",), "not reached: Glance image: nothing is made"),
        ("boot_times", ("server",), "not reached: boot timings: the boot was not seen by this run"),
        ("launch_times", ("instance",), "not reached: launch timings: the launch was not seen by this run"),
        ("deleted", ("instance",), "not reached: delete: what was attached stays"),
    ],
    ids=["server", "launch", "image", "boot_times", "launch_times", "deleted"],  # the run's name is another each time
)
def test_what_cannot_be_had_is_not_reached_and_says_why(road, step, things, sentence):
    with pytest.raises(NotReached) as raised:
        getattr(road(things=things), step)()
    assert str(raised.value).startswith(sentence)


def test_a_version_that_was_not_registered_is_not_reached(road, monkeypatch):
    monkeypatch.setattr(datastore, "find_versions", lambda *_: [])
    with pytest.raises(NotReached, match=f"{RUN} has registered none"):
        road().version()


def test_a_fault_of_the_cloud_is_not_tried_a_second_time(road):
    tries = []

    def broken():
        tries.append(1)
        cause = Cause("x", "boot", "cloud", "certain", "it may pass", retryable=True)
        raise StepFailed("Nova server", "no", cause=cause)

    one = road()
    one._made["cloud"].ledger = SimpleNamespace(open=[])  # no evidence is asked for
    with pytest.raises(StepFailed):
        one.step("Nova server", broken)
    assert (len(tries), one.retries) == (1, [])


def test_a_fetched_image_that_is_another_one_stops_the_road(road):
    one = road()
    one._made["cloud"].ledger = SimpleNamespace(open=[])
    one.choice = replace(one.choice, file=replace(one.choice.file, sha256="cd" * 32))
    with pytest.raises(UsageError, match="was kept with another image"):
        one.image_file()


# ---- the end


def test_what_was_attached_stays_as_it_was(road, removed):
    one = road()
    until = one.ground.ledger.kept
    assert one.open == []
    assert not one.boxes.expendable
    one.release_server()
    assert one.close() == []
    assert removed == []
    assert one.end.accounting == f"attached 5, made 0, removed 0, left 5 (kept until {marks.stamp(until)})"
    assert f"go on     pytest --image x --attach {RUN}" in one.end.lines
    assert one.ground.ledger.kept == until
    dies(ledgers.read(one.ground.ledger.path))
    assert attached.find(RUN).run == RUN


def test_what_was_made_meanwhile_goes(road, removed):
    one = road()
    ledger = one.ground.ledger
    ledger.made(ledger.intend("image", f"{RUN}-disk"), "snapshot")
    assert [entry.id for entry in one.open] == ["snapshot"]
    assert one.close() == []
    assert removed == ["image"]
    assert one.end.accounting.startswith("attached 5, made 1, removed 1, left 5 (kept until ")


def test_keep_never_removes_it_all(road, removed, home):
    one = road(Keep("never"))
    assert {entry.kind for entry in one.open} == {"keypair", "image", "server", "instance", "folder"}
    assert one.boxes.expendable
    assert one.close() == []
    assert removed == ["instance", "server", "image", "keypair", "folder"]
    assert one.end.accounting == "attached 5, made 0, removed 5, left 0"
    assert not one.ground.ledger.path.exists()


@pytest.mark.parametrize(("when", "longer"), [("always", True), ("on-failure", False)])
def test_keep_makes_it_stay_longer(road, removed, when, longer):
    one = road(Keep(when, 9000.0))
    before = one.ground.ledger.kept
    assert one.close() == []
    assert (one.ground.ledger.kept > before + 5000) == longer
    assert removed == []


# ---- and on the command line


def test_gc_says_who_is_attached(road, capsys):
    road()
    assert cli.main(["gc", "--dry-run"]) == 0
    assert f"keep    server {RUN} server-{RUN[-6:]} (run {RUN}): {RUN} is at work" in capsys.readouterr().out


def test_the_words_of_an_image_mean_that_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "a b.raw"
    raw.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
    from imagecheck import choice

    for words in (
        ["--image", known()[0], "--datastore", _store(known()[0])],
        ["--image", "a b.raw", "--datastore", "mariadb:11.8"],
        ["--image", "https://example.org/x.qcow2", "--datastore", "mariadb:11.8", "--sha256", SHA],
    ):
        given = dict(zip(words[::2], words[1::2], strict=True))
        one = choice.image(given["--image"], given["--datastore"], given.get("--sha256", ""))
        told = dict(zip(one.words()[::2], one.words()[1::2], strict=True))
        again = choice.image(told["--image"], told.get("--datastore", ""), told.get("--sha256", ""))
        assert replace(again, definition=replace(again.definition, description="")) == replace(
            one, definition=replace(one.definition, description="")
        ) or (again.file and again.file.sha256 == one.file.sha256)
    assert choice.where("", "", "epoxy") == []
    assert choice.where("", "", "zed") == ["--release", "zed"]
    assert choice.where("prod", "", "epoxy") == ["--cloud", "prod"]
    assert choice.where("", "my.toml", "epoxy") == ["--site", str(tmp_path / "my.toml")]
    monkeypatch.setenv("OS_CLOUD", "usual")
    assert choice.where("", "", "epoxy") == ["--cloud", "usual"]
    (tmp_path / "imagecheck.toml").touch()
    assert choice.where("", "", "epoxy") == ["--site", str(tmp_path / "imagecheck.toml")]
    assert choice.where("prod", "", "epoxy") == ["--site", str(tmp_path / "imagecheck.toml"), "--cloud", "prod"]


def _store(name):
    one = load(name).datastore
    return f"{one.name}:{one.version}"
