"""The pytest plugin: options, order, reports. Beside fixtures.py the only module that knows pytest.

Nothing happens without ``--image``. With it, each image walks its road once per session (run.Road); fixtures are
the steps of that road, checks are ordinary tests that ask for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imagecheck import fixtures, interrupts, order
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.fixtures import KEY
from imagecheck.options import OPTIONS, STAGES, known_failure
from imagecheck.options import attach as attach_option
from imagecheck.options import launches as series_options
from imagecheck.redact import clean

if TYPE_CHECKING:
    from imagecheck.session import Session


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("imagecheck", "guest images for OpenStack Trove")
    for flag, how in OPTIONS.items():
        group.addoption(flag, **how)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(fixtures, fixtures.__name__)
    # The clients warn of each other's deprecations, in every request.
    config.addinivalue_line("filterwarnings", r"ignore::Warning:(openstack|osc_lib|troveclient)\b")
    config.addinivalue_line("markers", "stage(name): disk, boot or service: how far an image has to get for this check")
    config.addinivalue_line("markers", "qualify: only with --qualify: what a release needs and a daily run does not")
    option = config.option
    with _usage():
        launches = series_options(vars(option))
        if launches and (getattr(option, "dist", "no") != "no" or _worker(config)):
            raise UsageError("--launches measures on a cloud that it has for itself: leave -n out")
        attach = attach_option(vars(option))
        if attach and (getattr(option, "dist", "no") != "no" or _worker(config)):
            raise UsageError("--attach goes on with one run: leave -n out")
    if not option.image:
        return
    from imagecheck import outlets
    from imagecheck.session import Session

    with _usage():
        session = Session(
            images=option.image, datastore=option.datastore, sha256=option.sha256, cloud=option.cloud, site=option.site,
            release=option.release, report=Path(option.report), yes=option.yes,
            keep=option.keep, keep_for=option.keep_for,
            launches=launches, attach=attach,
        )  # fmt: skip
    config.stash[KEY] = session
    if config.args_source is not config.ArgsSource.ARGS:
        from imagecheck import paths

        with _usage():
            config.args = [str(paths.shipped("suite"))]
    session.progress_to(outlets.Beside(config.pluginmanager))
    config.pluginmanager.register(_Reports())
    if not _worker(config):
        handlers = contextlib.ExitStack()
        handlers.enter_context(interrupts.handled(session.steps))
        config.add_cleanup(handlers.close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker walks the whole road of an image: its steps are made once, and in order.

    Not by --dist loadgroup: with pytest 9 xdist 3.8 cannot put the group into a node's id any more.
    """
    mine = config.stash.get(KEY, None)
    if mine is None:
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped,unused-ignore]

    image_of = mine.image_of

    class ByImage(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return image_of(nodeid) or nodeid

    return ByImage(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    if session := config.stash.get(KEY, None):
        session.end()


def pytest_report_header(config: pytest.Config) -> list[str]:
    session = config.stash.get(KEY, None)
    return [session.header()] if session else []


# ---- collection


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "imagecheck_road" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash.get(KEY, None)
    if session is None:
        nothing = pytest.param(None, id="no image", marks=pytest.mark.skip(reason="needs --image NAME"))
        metafunc.parametrize("imagecheck_road", [nothing], indirect=True, scope="session")
        return
    metafunc.parametrize("imagecheck_road", session.names, indirect=True, scope="session", ids=session.names)


def _stage(item: pytest.Item) -> int:
    """Index in STAGES: as marked, else by the fixtures that the check asks for."""
    if mark := item.get_closest_marker("stage"):
        if not mark.args or mark.args[0] not in STAGES:
            raise pytest.UsageError(f"{item.nodeid}: stage{mark.args} is none of {', '.join(STAGES)}")
        return STAGES.index(mark.args[0])
    return order.stage(_asked(item))


def _asked(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _image(item: pytest.Item) -> str:
    spec = getattr(item, "callspec", None)
    return str(spec.params.get("imagecheck_road") or "") if spec else ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = config.stash.get(KEY, None)
    if session is None:
        return

    def too_far(item: pytest.Item) -> bool:
        skipped = item.get_closest_marker("qualify") is not None and not config.option.qualify
        skipped = skipped or ("series" in _asked(item) and session.launches is None)
        return skipped or _stage(item) > STAGES.index(config.option.stage)

    if beyond := [item for item in items if _image(item) and too_far(item)]:
        config.hook.pytest_deselected(items=beyond)
    kept = [item for item in items if item not in set(beyond)]
    _mark_known_failures(session, kept)
    names = ["", *session.names]  # what is no check of an image stays before them
    stage = {item: _stage(item) if _image(item) else 0 for item in kept}
    items[:] = sorted(kept, key=lambda one: (names.index(_image(one)), stage[one], order.within(_asked(one))))


def _mark_known_failures(session: Session, items: list[pytest.Item]) -> None:
    """Strict: a failure that is no longer one has to leave the definition."""
    today = datetime.now(UTC).date()
    for item in items:
        if not (name := _image(item)):
            continue
        check = getattr(item, "originalname", None) or item.name
        if known := known_failure(session.definition(name).known_failures, check, today):
            item.add_marker(pytest.mark.xfail(reason=f"known: {known.reason} ({known.tracker})", strict=True))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say what is wrong with the cloud before anything is built or made."""
    config = session.config
    mine = config.stash.get(KEY, None)
    if mine is None or config.option.collectonly or _worker(config):
        return
    with _usage():
        for name in sorted({_image(item) for item in session.items} - {""}):
            mine.road(name)  # its report's folder is this run's alone from now on
    needed = {_image(item) for item in session.items if "walked" in _asked(item)}
    _early(mine, needed - {""})


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    mine = config.stash.get(KEY, None)
    # With -n the controller collects nothing, and a worker's usage error would not end the run.
    if mine and not _worker(config) and getattr(config.option, "dist", "no") != "no":
        with _usage(stop=True):
            mine.free_reports()
            if config.option.stage != "disk":
                mine.look_ahead(mine.names)


def _early(mine: Session, images: set[str]) -> None:
    if images:
        with _usage(stop=True):
            if mine.sandbox_comes():  # of one's own sandbox there is nothing to find out
                return
    # Only the first: who waits for room for the next one must not hold any that others wait for.
    for name in [name for name in mine.names if name in images and mine.can_be_had(name)][:1]:
        with _usage(stop=True):
            mine.enter(name)
            mine.look_ahead(images - {name})


@contextlib.contextmanager
def _usage(*, stop: bool = False) -> Iterator[None]:
    """Bad input: one sentence and exit code 4. ``stop``: other failures end the session too, with exit code 1."""
    try:
        yield
    except UsageError as error:
        raise pytest.UsageError(clean(str(error))) from error
    except ImagecheckError as error:
        if not stop:
            raise
        pytest.exit(clean(str(error)), returncode=1)


# ---- reports


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    session = item.config.stash.get(KEY, None)
    if session is None or not _image(item):
        return report
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, ImagecheckError):
        report.longrepr = str(error)  # the sentence; a traceback of ours would tell nobody anything
    sentence = " ".join((getattr(getattr(item, "function", None), "__doc__", None) or item.name).split())
    if report.when == "setup":
        item.user_properties += [("stage", STAGES[_stage(item)]), ("check", sentence)]
    session.take(_image(item), item.name, STAGES[_stage(item)], sentence, report, error)
    if evidence := session.evidence(_image(item), item.nodeid):
        if report.failed:
            report.sections.append(("evidence", f"{evidence}/index.html"))
        if report.when == "teardown":  # JUnit takes the properties of this one
            report.user_properties.append(("evidence", evidence))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    session = item.config.stash.get(KEY, None)
    if session is not None and (name := _image(item)):
        session.begins(name, item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """The bare boot goes as soon as no check that is still to come asks for it, and all of an image with its last."""
    session = item.config.stash.get(KEY, None)
    if session is None or nextitem is None or not (name := _image(item)):
        return (yield)
    items = item.session.items
    rest = items[items.index(item) + 1 :]
    if not any(_image(other) == name and order.BARE & _asked(other) for other in rest):
        session.road(name).release_server()
    done = yield
    if _image(nextitem) != name:
        session.leave(name)
    return done


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    mine = config.stash.get(KEY, None)
    if mine is None:
        return
    left = mine.finish()
    if left and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if _worker(config):
        config.workeroutput["imagecheck"] = mine.told  # type: ignore[attr-defined]
        return
    from _pytest.junitxml import xml_key

    if xml := config.stash.get(xml_key, None):
        for name, value in mine.properties():
            xml.add_global_property(name, value)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    mine = node.config.stash.get(KEY, None)
    if mine and error is None:
        mine.told += getattr(node, "workeroutput", {}).get("imagecheck", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if (mine := config.stash.get(KEY, None)) is None:
        return
    for told in mine.told:
        terminalreporter.section(f"imagecheck {told['image']}")
        for line in told["lines"]:
            terminalreporter.write_line(line)


def _worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


class _Reports:
    """What every other plugin (terminal, JUnit, xdist) gets to see of a run with ``--image``: no secret, no escapes."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        from imagecheck.outlets import everything

        for name in ("longrepr", "sections", "user_properties", "wasxfail"):
            if hasattr(report, name):
                setattr(report, name, everything(getattr(report, name)))

    pytest_collectreport = pytest_runtest_logreport

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any) -> None:
        from imagecheck.outlets import everything

        everything(excrepr)
