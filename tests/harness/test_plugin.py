"""What a pytest user sees, by pytester. The road is real; steps in a cloud are stood in for where one has to break."""

import pytest

from imagecheck import choice, held, mirror, paths, sandbox
from imagecheck.errors import StepFailed
from imagecheck.run import Road

pytest_plugins = ["pytester"]


@pytest.fixture
def raw(tmp_path):
    """The smallest file that is taken for a raw image: a boot sector's mark and nothing else."""
    file = tmp_path / "small.raw"
    file.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
    return file


@pytest.fixture
def run(pytester, tmp_path, monkeypatch):
    """pytest in a folder of its own, with a home of its own and no cloud."""
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OS_CLOUD", raising=False)

    def start(*arguments, cache=False):
        # In this process: loading the clients takes seconds.
        return pytester.runpytest_inprocess(*([] if cache else ["-p", "no:cacheprovider"]), *map(str, arguments))

    return start


@pytest.fixture
def broken_nova(monkeypatch):
    """A road whose cloud is reached and whose Nova has no host: no real cloud breaks to order."""

    def make():
        raise StepFailed("Nova server", "Nova gave up: no valid host", seen="status ERROR", remedy="free a host")

    monkeypatch.setattr(Road, "cloud", lambda _: None)
    monkeypatch.setattr(Road, "server", lambda road: road.step("Nova server", make))
    monkeypatch.setattr(Road, "console", lambda road: road.step("console", lambda: road.server() and ""))


def test_fixtures_of_others_are_left_alone(pytester, run, raw):
    pytester.makepyfile(
        """
        import pytest
        @pytest.fixture
        def road(): return "mine"
        @pytest.fixture
        def database(road): return road
        def test_mine(database): assert database == "mine"
        """
    )
    run("test_fixtures_of_others_are_left_alone.py").assert_outcomes(passed=1)
    run("--image", raw, "--datastore", "mariadb:11.8", "--stage", "disk",
        "test_fixtures_of_others_are_left_alone.py").assert_outcomes(passed=1)  # fmt: skip


def test_without_image_nothing_changes(pytester, run):
    pytester.makepyfile("def test_mine(): pass")
    done = run()
    done.assert_outcomes(passed=1)
    assert "imagecheck" not in done.stdout.str().partition("collected")[0].partition("plugins:")[0]
    assert not (pytester.path / "report").exists()


def test_checks_without_image_are_skipped_with_the_reason(pytester, run):
    pytester.makepyfile("def test_a(image_file): pass")
    done = run("-rs")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*needs --image NAME*"])


def test_image_without_paths_runs_the_shipped_suite(run, raw):
    done = run("--image", raw, "--datastore", "mariadb:11.8", "--collect-only", "-q")
    done.stdout.fnmatch_lines(["*test_boot.py*small*", "*test_service.py*small*"])


def test_image_with_paths_runs_only_those(pytester, run, raw):
    pytester.makepyfile("def test_sum(image_file): assert len(image_file.sha256) == 64")
    done = run("--image", raw, "--datastore", "mariadb:11.8", "test_image_with_paths_runs_only_those.py")
    done.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--image", "mariadb-debain"], "*did you mean 'mariadb-debian'*"),
        (["--image", "./missing.qcow2", "--datastore", "mariadb:11.8"], "*missing.qcow2: does not exist*"),
        (["--image", "./text.qcow2", "--datastore", "mariadb:11.8"], "*text.qcow2: is not an image*"),
        (["--image", "./text.qcow2"], "*say it with --datastore NAME:VERSION*"),
        (["--image", "./text.qcow2", "--datastore", "mariadb"], "*give NAME:VERSION*"),
        (["--image", "./text.qcow2", "--datastore", "oracle:1"], "*no definition serves 'oracle'*"),
        (["--image", "mariadb-debian", "--site", "none.toml"], "*none.toml*"),
        (["--image", "mariadb-debian", "--cloud", "nowhere"], "*no entry 'nowhere'*"),
        (["--image", "mariadb-debian", "--keep-for", "long"], "*--keep-for long: is no length of time*"),
        (["--image", "mariadb-debian", "--launches", "0"], "*--launches 0: a series has at least one launch*"),
        (["--image", "mariadb-debian", "--against", "mariadb-debian"], "*--against*give --launches N with it*"),
        (["--image", "mariadb-debian", "--concurrency", "2"], "*--concurrency*give --launches N with it*"),
        (
            ["--image", "mariadb-debian", "--launches", "2", "--against", "debain"],
            "*--against debain: there is no such*",
        ),
        (["--launches", "2"], "*name one with --image*"),
        (["--image", "mariadb-debian", "--attach", "x"], "*--attach x: is no kept run, and no id of a kept server*"),
        (["--attach", "x"], "*--attach x: goes on with the run of one image: name that one with --image*"),
        (
            ["--image", "mariadb-debian", "--image", "mysql-debian", "--attach", "x"],
            "*goes on with the run of one image*",
        ),
        (["--image", "mariadb-debian", "--attach", "x", "--launches", "2"], "*leave --launches out*"),
        (["--image", "mariadb-debian", "--attach", "x", "-n", "2"], "*--attach goes on with one run: leave -n out*"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_4(pytester, run, arguments, sentence):
    (pytester.path / "text.qcow2").write_text("hello\n" * 500)
    done = run(*arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    text = done.stderr.str() + done.stdout.str()
    done_lines = [line for line in text.splitlines() if line.startswith("ERROR:")]
    assert len(done_lines) == 1
    pytest.LineMatcher(done_lines).fnmatch_lines([sentence])
    assert "Traceback" not in text


def test_the_order_is_the_roads_and_stage_stops_early(pytester, run, raw):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.stage("service")
        def test_c(imagecheck_road): pass
        @pytest.mark.stage("boot")
        def test_b(imagecheck_road): pass
        @pytest.mark.stage("disk")
        def test_a(imagecheck_road): pass
        def test_unmarked(image_file): pass
        """
    )
    here = ["--image", raw, "--datastore", "mariadb:11.8", "test_the_order_is_the_roads_and_stage_stops_early.py"]
    done = run(*here, "-v")
    done.stdout.fnmatch_lines(["*test_a*PASSED*", "*test_unmarked*PASSED*", "*test_b*PASSED*", "*test_c*PASSED*"])
    run(*here, "--stage", "boot").assert_outcomes(passed=3, deselected=1)
    run(*here, "--stage", "disk").assert_outcomes(passed=2, deselected=2)


def test_images_are_walked_one_after_the_other(pytester, run, raw, tmp_path):
    other = tmp_path / "other.raw"
    other.write_bytes(raw.read_bytes())
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.stage("boot")
        def test_b(imagecheck_road): pass
        @pytest.mark.stage("disk")
        def test_a(imagecheck_road): pass
        """
    )
    done = run("--image", raw, "--image", other, "--datastore", "mariadb:11.8", "-v",
               "test_images_are_walked_one_after_the_other.py")  # fmt: skip
    done.stdout.fnmatch_lines(["*test_a?small*", "*test_b?small*", "*test_a?other*", "*test_b?other*"])


def test_a_broken_step_is_told_once_without_traceback(pytester, run, raw, broken_nova):
    pytester.makepyfile(
        """
    import pytest
    @pytest.mark.stage("boot")
    def test_first(server):
        "Nova boots it."
    @pytest.mark.stage("boot")
    def test_second(console):
        "It speaks."
    @pytest.mark.stage("disk")
    def test_disk(image_file):
        "It is there."
    """
    )
    name = "test_a_broken_step_is_told_once_without_traceback.py"
    done = run("--image", raw, "--datastore", "mariadb:11.8", "-rs", "--junitxml=j.xml", name)
    done.assert_outcomes(passed=1, errors=1, skipped=1)
    done.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_first*",
            "Nova server: Nova gave up: no valid host",
            "*imagecheck small*",
            "FAILED*Nova server*Nova gave up: no valid host*",
            "*seen in*status ERROR*",
            "*try*free a host*",
            "*evidence*report/small/test-a-broken-step*test-first-small*",
            "evidence*report/small/index.html",
            "SKIPPED*not reached: Nova server: Nova gave up: no valid host*",
        ]
    )
    assert "Traceback" not in done.stdout.str()
    assert "run.py:" not in done.stdout.str()
    (folder,) = [one for one in (pytester.path / "report" / "small").iterdir() if one.is_dir()]
    assert (folder / "fault.txt").stat().st_mode & 0o077 == 0
    assert "no valid host" in (folder / "index.html").read_text()
    report = (pytester.path / "report" / "small" / "report.json").read_text()
    assert '"It speaks."' in report
    assert "not reached: Nova server" in report
    junit = (pytester.path / "j.xml").read_text()
    assert 'name="check" value="It is there."' in junit
    assert 'name="image" value="small"' in junit
    assert f'name="evidence" value="report/small/{folder.name}"' in junit


def test_one_worker_walks_the_whole_road_of_an_image(pytester, run, raw, tmp_path):
    other = tmp_path / "other.raw"
    other.write_bytes(raw.read_bytes())
    pytester.makepyfile(
        """
        import os, pathlib, pytest
        @pytest.mark.parametrize("number", range(4))
        def test_where(imagecheck_road, number):
            with open(f"{imagecheck_road.choice.name}.txt", "a") as file:
                file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
        """
    )
    done = run("--image", raw, "--image", other, "--datastore", "mariadb:11.8", "--stage", "disk", "-n", "2",
               "-p", "no:hypothesispytest", "--junitxml=j.xml",
               "test_one_worker_walks_the_whole_road_of_an_image.py")  # fmt: skip
    done.assert_outcomes(passed=8)
    for name in ("small", "other"):
        assert len(set((pytester.path / f"{name}.txt").read_text().split())) == 1
        done.stdout.fnmatch_lines([f"*imagecheck {name}*"])
        assert (pytester.path / "report" / name / "report.json").exists()
    assert 'name="small.image"' in (pytester.path / "j.xml").read_text()


def test_a_report_that_another_run_is_writing_is_told_before_anything_is_done(pytester, run, raw):
    pytester.makepyfile("def test_it(image_file): pass")
    words = ["--image", raw, "--datastore", "mariadb:11.8", "--stage", "disk"]
    words += ["test_a_report_that_another_run_is_writing_is_told_before_anything_is_done.py"]
    with held.alone(pytester.path / "report" / "small", "another"):
        for more in ([], ["-n", "2"]):
            done = run(*words, *more)
            assert done.ret == pytest.ExitCode.USAGE_ERROR
            said = "*report/small: another run writes there at this moment: give another folder with --report*"
            done.stderr.fnmatch_lines([said])
        run(*words, "--report", "elsewhere").assert_outcomes(passed=1)
    run(*words).assert_outcomes(passed=1)


def test_what_an_image_made_goes_before_the_next_one_begins(pytester, run, raw, tmp_path, monkeypatch):
    other = tmp_path / "other.raw"
    other.write_bytes(raw.read_bytes())
    closed = []
    monkeypatch.setattr(Road, "close", lambda road: closed.append(road.choice.name) or [])
    monkeypatch.setattr(choice, "closed_so_far", closed, raising=False)
    pytester.makepyfile(
        """
        import pytest
        from imagecheck import choice
        @pytest.mark.parametrize("number", range(2))
        def test_it(imagecheck_road, number):
            assert choice.closed_so_far == {"small": [], "other": ["small"]}[imagecheck_road.choice.name]
        """
    )
    done = run("--image", raw, "--image", other, "--datastore", "mariadb:11.8", "--stage", "disk",
               "test_what_an_image_made_goes_before_the_next_one_begins.py")  # fmt: skip
    done.assert_outcomes(passed=4)
    assert closed == ["small", "other"]  # each once


def test_lf_runs_what_failed_and_nothing_else(pytester, run, raw):
    pytester.makepyfile(
        """
        def test_good(image_file): pass
        def test_bad(image_file): assert not image_file.path.exists()
        """
    )
    name = "test_lf_runs_what_failed_and_nothing_else.py"
    here = ["--image", raw, "--datastore", "mariadb:11.8", name]
    run(*here, cache=True).assert_outcomes(passed=1, failed=1)
    run(*here, "--lf", cache=True).assert_outcomes(failed=1)
    run(*here, "-k", "good", cache=True).assert_outcomes(passed=1, deselected=1)


def test_a_failed_assertion_keeps_its_traceback(pytester, run, raw):
    pytester.makepyfile('def test_bad(image_file):\n    "It is tiny."\n    assert image_file.size == 1')
    done = run("--image", raw, "--datastore", "mariadb:11.8", "test_a_failed_assertion_keeps_its_traceback.py")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*assert*== 1*", "FAILED*test_bad*"])


def test_what_only_a_release_needs_waits_for_qualify(pytester, run, raw):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.stage("disk")
        def test_daily(image_file): pass
        @pytest.mark.stage("disk")
        @pytest.mark.qualify
        def test_for_a_release(image_file): pass
        """
    )
    here = ["--image", raw, "--datastore", "mariadb:11.8", "test_what_only_a_release_needs_waits_for_qualify.py"]
    run(*here).assert_outcomes(passed=1, deselected=1)
    run(*here, "--qualify").assert_outcomes(passed=2)


def test_a_series_is_collected_with_launches_only_and_comes_last(run, raw):
    here = ["--image", raw, "--datastore", "mariadb:11.8", "--collect-only", "-q"]
    without = run(*here).stdout.str()
    assert "test_launches.py" not in without
    lines = [line for line in run(*here, "--launches", "3").stdout.lines if "::" in line]
    assert all("test_launches.py" in line for line in lines[-3:])
    assert not any("test_launches.py" in line for line in lines[:-3])


def test_a_series_goes_alone(run, raw):
    done = run("--image", raw, "--datastore", "mariadb:11.8", "--launches", "3", "-n", "2")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--launches measures on a cloud that it has for itself: leave -n out*"])


def test_the_other_image_of_a_series_is_not_checked(pytester, run, raw):
    pytester.makepyfile(
        """
        def test_image(image_file): pass
        def test_series(series): assert series == "walked"
        """
    )
    done = run("--image", raw, "--datastore", "mariadb:11.8", "--launches", "2", "--against", raw, "--collect-only",
               "-q", "test_the_other_image_of_a_series_is_not_checked.py")  # fmt: skip
    assert [line.partition("::")[2] for line in done.stdout.lines if "::" in line] == [
        "test_image[small]", "test_series[small]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [("PASS", "passed"), ("IMPROVED", "passed"), ("REGRESSED", "failed"), ("INCOMPARABLE", "failed"),
     ("INSUFFICIENT", "skipped")],
)  # fmt: skip
def test_only_a_regression_and_what_cannot_be_compared_fail_the_gate(pytester, run, raw, monkeypatch, verdict, outcome):
    text = (paths.shipped("suite") / "test_launches.py").read_text(encoding="utf-8")
    pytester.makepyfile(
        text
        + f"""
from types import SimpleNamespace
@pytest.fixture
def series():
    judged = SimpleNamespace(verdict="{verdict}", sentence="the numbers", more=7)
    return SimpleNamespace(failed=[], stopped="", samples=(1,), planned=1, judgement=judged, baseline=None)
"""
    )
    done = run("-rs", "-k", "other_image", "test_only_a_regression_and_what_cannot_be_compared_fail_the_gate.py")
    done.assert_outcomes(**{outcome: 1}, deselected=2)
    if outcome == "skipped":
        done.stdout.fnmatch_lines(["*needs 7 more launches of each image: the numbers*"])


def test_a_wrong_digest_is_a_usage_error_that_names_both(pytester, run, raw):
    done = run("--image", raw, "--datastore", "mariadb:11.8", "--sha256", "0" * 64)
    assert done.ret == 4
    done.stderr.fnmatch_lines([f"ERROR: --sha256 {'0' * 64}: *small.raw has *: fetch the image again*"])


def test_a_wrong_stage_is_a_usage_error(pytester, run, raw):
    pytester.makepyfile("import pytest\n@pytest.mark.stage('bott')\ndef test_a(imagecheck_road): pass")
    done = run("--image", raw, "--datastore", "mariadb:11.8", "test_a_wrong_stage_is_a_usage_error.py")
    assert done.ret == pytest.ExitCode.USAGE_ERROR


def test_an_image_that_cannot_be_built_here_says_so_and_starts_no_sandbox(run, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "_of_host", dict)
    monkeypatch.delenv("IMAGECHECK_UBUNTU_MIRROR", raising=False)
    monkeypatch.setattr(choice, "place", lambda *_, **__: pytest.fail("a cloud was looked for"))
    monkeypatch.setattr(sandbox, "begin", lambda *_, **__: pytest.fail("the sandbox was started"))
    done = run("--image", "mariadb-ubuntu", "--report", tmp_path / "report")
    outcomes = done.parseoutcomes()
    assert outcomes["errors"] == 1
    assert "passed" not in outcomes
    assert "failed" not in outcomes
    assert done.ret == 1
    done.stdout.fnmatch_lines(["FAILED  image build   not built here: no Ubuntu archive is known on this host*"])


def test_a_report_that_can_no_longer_be_written_is_a_sentence_and_fails_the_run(pytester, run, raw):
    pytester.makepyfile(
        """
        import shutil
        from pathlib import Path
        def test_a(image_file):
            shutil.rmtree("report", ignore_errors=True)
            Path("report").write_text("a file where the folder was")
        """
    )
    done = run("--image", raw, "--datastore", "mariadb:11.8", *pytester.path.glob("*.py"))
    assert done.ret == 1
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["NO REPORT *report.json: cannot be written (*"])
    assert "INTERNALERROR" not in done.stdout.str() + done.stderr.str()
