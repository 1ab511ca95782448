"""The watchdog: what is read while something waits, with recorded texts; what ends a wait, what a time-out says."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
from watchdog_fixtures import GOOD, NO_TEXT, UNIT, UNITS, container

from imagecheck import bare, service, waits, watchdog
from imagecheck.broker import BrokerUnreachable, Queue
from imagecheck.cloud import hypervisor, nova, trove
from imagecheck.cloud.connection import Hiccup, Missing
from imagecheck.definition import known, load
from imagecheck.errors import StepFailed
from imagecheck.launch.collect import Edges
from imagecheck.waits import NotYet, Ready
from imagecheck.watchdog import Watchdog

LOGIN = (
    b"2026-11-23 14:54:04.957 27846 ERROR trove amqp.exceptions.AccessRefused: (0, 0): (403) ACCESS_REFUSED - Login "
    b"was refused using authentication mechanism AMQPLAIN. For details see the broker logfile.\n"
)


class World:
    """A cloud and a guest as far as the watchdog asks them, and the time."""

    def __init__(self):
        self.now, self.epoch = 1000.0, 1_700_000_000.0
        self.server = nova.Server("s-1", "n", "p", "ACTIVE", {"mgmt": ("10.0.0.9",)}, True, {})
        self.text, self.consumers, self.fresh = "", 0, 0.0
        self.answers, self.asked = [], []
        self.instance = {"status": "BUILD", "server_id": "s-1", "guest_status": {"state_description": "building"}}

    # as imagecheck.watchdog sees the module time
    def monotonic(self):
        return self.now

    def time(self):
        return self.epoch + self.now

    def sleep(self, seconds):
        self.now += seconds

    def show(self, cloud, id):
        if isinstance(self.server, Exception):
            raise self.server
        return self.server

    def console(self, cloud, id):
        self.asked.append("console")
        return self.text

    def queue(self, guest_id):
        if self.consumers is None:
            raise BrokerUnreachable("no broker")
        return Queue(guest_id, 0, self.consumers)

    def shown(self):
        return trove.Shown("i-1", self.instance["status"], "", "s-1", self.instance.get("fault", {}).get("message", ""),
                           (), self.instance)  # fmt: skip


@pytest.fixture
def world(monkeypatch):
    one = World()

    class Inside:
        """Stands for the Follower: gives the answers that the world has."""

        fresh = 0.0

        def __init__(self, guest, **options):
            self.options = options

        def tick(self):
            self.dialled = list(self.options["brokers"]())
            if not one.answers:
                return None
            self.fresh = one.now
            return one.answers.pop(0)

        def soon(self):
            one.asked.append("soon")

        def close(self):
            one.asked.append("close")

    monkeypatch.setattr(watchdog, "time", one)
    monkeypatch.setattr(watchdog, "Follower", Inside)
    monkeypatch.setattr(watchdog, "LAST_LOOK", 0.0)
    monkeypatch.setattr(watchdog.Outside, "start", watchdog.Outside.run)  # an answer at once
    monkeypatch.setattr(watchdog.Outside, "join", lambda *_: None)
    monkeypatch.setattr(nova, "show", one.show)
    monkeypatch.setattr(nova, "console", one.console)
    return one


@pytest.fixture
def make(world):
    def made(**options):
        agent = load(known()[0]).agent
        return Watchdog(None, dataclasses.replace(agent, unit=UNIT), "/etc/trove/conf.d", guest_id="g-1", broker=world,
                        brokers=["b:5672"], server_id="s-1", **options)  # fmt: skip

    return made


def wait(world, guard, probe=lambda: NotYet("nothing"), **options):
    given = {"reason": "the guest", "deadline": 120.0, "interval": 1.0, "step": "guest agent", **options}
    return waits.until(probe, guard=guard, monotonic=world.monotonic, wall=world.time, sleep=world.sleep, **given)


def failure(world, guard, **options):
    with pytest.raises(StepFailed) as told:
        wait(world, guard, **options)
    return told.value


# ---- what ends a wait


def test_a_guest_that_switched_itself_off_is_told_before_nova_notices(world, make, monkeypatch):
    def gone(cloud, id):
        raise Missing("Nova server: could not read the console: not found")

    monkeypatch.setattr(nova, "console", gone)
    monkeypatch.setattr(hypervisor, "switched_off", lambda cloud, id: "shutdown")
    error = failure(world, make())
    assert (error.cause.id, world.now) == ("powered-off", 1000.0)
    assert "power state shutdown on the hypervisor" in error.seen


def test_a_machine_that_nova_reboots_is_not_taken_for_one_that_switched_itself_off(world, make, monkeypatch):
    def gone(cloud, id):
        world.server = dataclasses.replace(world.server, status="REBOOT")
        raise Missing("Nova server: could not read the console: not found")

    monkeypatch.setattr(nova, "console", gone)
    monkeypatch.setattr(hypervisor, "switched_off", lambda cloud, id: "shutdown")
    error = failure(world, make(), deadline=30.0)
    assert isinstance(error, waits.TimedOut)
    assert error.cause.id == "unknown"


def test_a_panic_on_the_console_ends_the_wait_at_once(world, make):
    world.text = "[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
    error = failure(world, make())
    assert (error.step, error.cause.id, world.now) == ("guest agent", "panic-root", 1000.0)
    assert error.seen.startswith("console, line 1: ")


def test_the_consoles_first_byte_came_between_the_last_empty_look_and_the_first_other(world, make):
    watch = make()
    watch.look("guest")
    world.now += 6
    watch.look("guest")
    assert watch.console_spoke is None
    world.now += 6
    world.text = "SeaBIOS"
    watch.look("guest")
    first = watch.console_spoke
    assert first == (world.epoch + 1006, world.epoch + 1012)
    world.now += 6
    watch.look("guest")
    assert watch.console_spoke == first


def test_a_prompt_counts_only_where_the_console_was_read_again(world, make):
    world.text = "Booting ...\r\ngrub> "
    error = failure(world, make())
    assert error.cause.id == "grub-prompt"
    assert world.asked.count("console") == 2
    assert world.now - 1000.0 <= 10


def test_the_agents_own_words_end_the_wait(world, make):
    watch = make()
    watch.enter(None)
    world.answers = [GOOD, dataclasses.replace(GOOD, texts=NO_TEXT | {"agent": LOGIN})]
    error = failure(world, watch)
    assert (error.cause.id, error.cause.fault, error.cause.stage) == ("broker-login", "cloud", "boot")


def test_an_error_that_the_agent_gets_over_does_not(world, make):
    watch = make()
    watch.enter(None)
    world.consumers = 1
    world.answers = [dataclasses.replace(GOOD, texts=NO_TEXT | {"agent": LOGIN})]
    answers = [NotYet("no")] * 5 + [Ready("yes")]
    assert wait(world, watch, probe=lambda: answers.pop(0)).value == "yes"


def test_a_dialled_port_that_refuses_ends_the_wait_before_the_agent_says_so(world, make):
    watch = make()
    watch.enter(None)
    world.answers = [dataclasses.replace(GOOD, dials={"b:5672": "Connection refused"})]

    def probe():
        if (world.now - 1000) % 5 == 4:
            world.answers.append(dataclasses.replace(GOOD, dials={"b:5672": "Connection refused"}))
        return NotYet("no")

    error = failure(world, watch, probe=probe)
    assert error.cause.id == "broker-refused"
    assert world.now - 1000 <= 12


def test_what_a_guest_said_before_it_fell_silent_grows_no_older(world, make):
    """A rebooting guest whose agent was last seen stopped must not be called dead for that."""
    watch = make()
    watch.enter(None)
    stopped = dict(UNITS) | {UNIT: UNITS[UNIT] | {"ActiveState": "inactive"}}
    world.answers = [dataclasses.replace(GOOD, units=stopped)]
    error = failure(world, watch)
    assert isinstance(error, waits.TimedOut)
    assert not error.cause.known


# ---- faults and time-outs


def test_novas_fault_becomes_the_cause(world, make):
    world.server = dataclasses.replace(
        world.server, status="ERROR", fault="No valid host was found.", raw={"fault": {"details": "Traceback ..."}}
    )
    watch = make()
    with pytest.raises(StepFailed) as told:
        nova.wait_active(None, "s-1", deadline=10, each=watch.saw_server, guard=watch)
    assert told.value.cause.id == "no-valid-host"
    assert told.value.cause.retryable
    assert told.value.step == nova.STEP


def test_a_fault_is_explained_by_the_guests_last_words(world, make):
    watch = make()
    watch.enter(None)
    world.answers = [GOOD]
    world.instance |= {"status": "ERROR", "fault": {"message": "Service not active, status: failed to spawn"}}
    words = b'docker.errors.NotFound: 404 ("manifest for mariadb:11.9 not found: manifest unknown")\n'

    def probe():
        watch.saw_instance(world.shown())
        world.answers = [dataclasses.replace(GOOD, texts=NO_TEXT | {"agent": words})]
        raise StepFailed("Trove instance", "Trove gave up on the instance: Service not active")

    error = failure(world, watch, probe=probe)
    assert error.cause.id == "pull-no-tag"
    assert "agent-said-failed" in error.cause.also


def test_a_time_out_names_the_cause_that_shows(world, make):
    watch = make()
    watch.enter(None)
    world.answers = [dataclasses.replace(GOOD, texts=NO_TEXT | {"journal": b"x sshd: no hostkeys available\n"})]
    error = failure(world, watch)
    assert isinstance(error, waits.TimedOut)
    assert error.sentence.startswith("waited 120 s for the guest; seen last: nothing; cause: sshd has no host keys")
    assert error.cause.id == "no-host-keys"
    assert error.seen.startswith("journal, line 1")


def test_a_time_out_without_a_known_cause_shows_the_best_evidence_and_guesses_nothing(world, make):
    watch = make()
    watch.enter(None)
    world.answers = [dataclasses.replace(GOOD, texts=NO_TEXT | {"journal": b"x y[1]: error: upside down\n"})]
    error = failure(world, watch)
    assert error.sentence.endswith("; the cause is unknown")
    assert "upside down" in error.seen
    assert not error.cause.known


def test_a_cloud_that_does_not_answer_is_no_reason_to_end_a_wait(world, make):
    world.server, world.consumers = Hiccup("HTTP 503"), None
    answers = [NotYet("no")] * 30 + [Ready("yes")]
    assert wait(world, make(), probe=lambda: answers.pop(0)).value == "yes"


def test_a_cloud_that_hangs_does_not_hold_up_what_the_guest_says(world, make, monkeypatch):
    """With RabbitMQ down Nova takes minutes to say that it cannot read a console; the agent says it in seconds."""
    monkeypatch.setattr(watchdog.Outside, "start", lambda _: None)
    monkeypatch.setattr(watchdog.Outside, "is_alive", lambda _: True)
    watch = make()
    watch.enter(None)
    world.answers = [dataclasses.replace(GOOD, texts=NO_TEXT | {"agent": LOGIN})]
    assert failure(world, watch).cause.id == "broker-login"


# ---- operations on a guest that has a history


def test_what_was_before_an_operation_counts_for_nothing(world, make):
    world.text = "[ 99.0] Out of memory: Killed process 712 (mariadbd)\n"
    watch = make(from_now=True)
    answers = [NotYet("no")] * 12 + [Ready("yes")]
    assert wait(world, watch, probe=lambda: answers.pop(0)).value == "yes"
    world.text += "[ 199.0] Out of memory: Killed process 713 (mariadbd)\n"
    assert failure(world, watch).cause.id == "out-of-memory"


def stopped_database(world, make, **options):
    watch = make(from_now=True, **options)
    watch.enter(None)

    def probe():
        world.answers.append(dataclasses.replace(GOOD, container=container(ExitCode=0)))
        return NotYet("no") if world.now < 1060 else Ready("done")

    return wait(world, watch, probe=probe)


def test_a_stop_that_was_asked_for_is_no_fault(world, make):
    assert stopped_database(world, make, told="shutdown").value == "done"


def test_a_database_that_ends_by_itself_is_one(world, make):
    with pytest.raises(StepFailed) as told:
        stopped_database(world, make)
    assert told.value.cause.id == "container-exited"


def test_a_database_that_stays_away_after_a_reboot_is_named(world, make):
    watch = make(from_now=True)
    watch.boot = "b-0"
    watch.enter(None)
    world.consumers = 1

    def probe():
        world.answers.append(dataclasses.replace(GOOD, container=container(ExitCode=0)))
        return NotYet("no")

    assert failure(world, watch, probe=probe).cause.id == "container-dead-after-reboot"


# ---- under Trove


def test_a_restart_storm_of_the_database_under_trove_is_named_at_once(world, make, monkeypatch, tmp_path):
    """It was once waited out for four minutes: the container's log named no known cause, and nobody counted."""
    key = tmp_path / "key"
    key.write_text("k")
    definition = load(known()[0])
    site = SimpleNamespace(guest_key=key, jump="")
    ground = bare.Ground(
        SimpleNamespace(site=site), None,
        SimpleNamespace(management=SimpleNamespace(name="mgmt"), tenant=SimpleNamespace(name="tenant")),
        dataclasses.replace(definition, agent=dataclasses.replace(definition.agent, unit=UNIT)), "run",
        tmp_path / "own" / "key", world, (),
    )  # fmt: skip
    ground.key.parent.mkdir()
    world.consumers, counted = 1, []

    def show(cloud, id):
        world.now += 1
        counted.append(world.now)
        dies = container(Running=True, Restarting=True, restarts=len(counted), ExitCode=1)
        world.answers.append(dataclasses.replace(GOOD, container=dies))
        return world.shown()

    monkeypatch.setattr(trove, "show", show)
    monkeypatch.setattr(waits, "until", lambda probe, **options: until(probe, sleep=lambda _: None, **options))
    with pytest.raises(StepFailed) as told:
        service.wait_healthy(ground, service.Asked("g-1", "n", None, "pw", 0.0, 0.0), Edges())
    assert told.value.cause.id == "container-restarting"
    assert "3 restarts, exit code 1" in told.value.seen
    assert len(counted) == 3
    assert world.asked[-1] == "close"


until = waits.until


# ---- what is asked, what is told


def test_brokers_are_dialled_only_while_nobody_consumes(world, make):
    watch = make()
    watch.enter(None)
    world.answers = [GOOD]
    watch.look("x")
    assert watch._follower.dialled == ["b:5672"]
    world.consumers = 1
    world.now += 20
    watch.look("x")
    watch.look("x")
    assert watch._follower.dialled == []


def test_secrets_of_a_guest_stay_in_it(world, make):
    watch = make()
    watch.enter(None)
    text = json.dumps({"transport_url": "rabbit://trove:s3cret-word@10.0.0.1/"}).encode()
    world.answers = [dataclasses.replace(GOOD, texts=NO_TEXT | {"journal": b"error: " + text + b"\n"})]
    error = failure(world, watch)
    assert "s3cret-word" not in str(error)
    assert "10.0.0.1" in error.seen
