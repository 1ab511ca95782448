"""Every secret of a run is a canary here: none gets out, whichever way and in whichever form.

In this process: what a run learns, its evidence, pages, reports, progress, logs and a whole pytest with ``--image``.
On the sandbox (marked so): a real run, with the process list looked at all the time.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import warnings

import canaries
import pytest

from imagecheck import broker, cli, database, outlets, progress, redact, site
from imagecheck.blackbox.box import Box
from imagecheck.report.files import Folder, private
from imagecheck.report.terminal import clean

WORDS = {
    "broker": "canary-Br0ker/p@ss&word",
    "rpc": "canaryRpcKey0123456789abcdef",
    "password": "canary Passw0rd 'quoted\" <x>",
    "application": "canary-app-cred-SECRET_77",
    "environment": "canary.env.OS_PASSWORD.5",
    "key": "canaryKEYb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAA",
}


@pytest.fixture(autouse=True)
def learned(tmp_path):
    before = set(redact._secrets)
    redact.forget()
    config = tmp_path / "in" / "trove-guestagent.conf"
    config.parent.mkdir()
    quoted = WORDS["broker"].replace("@", "%40").replace("/", "%2F").replace("&", "%26")
    config.write_text(
        f"[DEFAULT]\ntransport_url = rabbit://trove:{quoted}@h:5672/\ntaskmanager_rpc_encr_key={WORDS['rpc']}\n"
    )
    key = tmp_path / "in" / "key"
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
    key.write_text(f"{begin}\n{WORDS['key']}\n{end}\n")
    (tmp_path / "in" / "imagecheck.toml").write_text(
        'cloud = "a"\ntenant_cloud = "b"\nguest_config = "trove-guestagent.conf"\nguest_key = "key"\n'
    )
    site.load(tmp_path / "in" / "imagecheck.toml")
    broker.addresses(config)
    redact.learn_named({"auth": {"password": WORDS["password"], "application_credential_secret": WORDS["application"]}})
    redact.learn_named({"OS_PASSWORD": WORDS["environment"], "OS_USERNAME": "admin", "PATH": "/bin"})
    yield
    redact.forget()
    for secret in before:
        redact.learn(secret)


def every_form():
    """A text with each canary in each form that a guest, a cloud or a library may print it in."""
    lines = []
    for name, word in WORDS.items():
        forms = [form.decode() for encoding, form in canaries.forms(word) if encoding != "reversed"]
        lines += [f"{name} [{form}] end" for form in forms]
        whole = f"#cloud-config\nwrite_files:\n- content: x\n  password is {word} here\n".encode()
        coded = base64.b64encode(whole).decode()
        lines += [f"user_data: {coded}", f"'content': '{base64.b64encode(coded.encode()).decode()}'"]
        lines += [base64.encodebytes(whole).decode(), json.dumps(base64.encodebytes(whole).decode())]
        lines += [base64.b64encode(gzip.compress(whole)).decode()]
        lines += [f"x{coded}", f"{word[:9]}\x1b[0m{word[9:]}", repr(word), json.dumps({"a": json.dumps(word)})]
        if " " not in word:
            lines += textwrap.wrap(word, 10)
    return "\n".join(lines)


def nothing_in(text):
    assert canaries.found(text.encode() if isinstance(text, str) else text, WORDS) == set()


def test_the_search_finds_what_it_is_for():
    for name in WORDS:
        seen = canaries.found(every_form().encode(), {name: WORDS[name]})
        assert {f"{name} as {encoding}" for encoding in ("raw", "hex", "base64+0", "base64+1", "base64+2")} <= seen
        assert any("within base64" in one for one in seen)


def test_no_form_of_a_secret_passes():
    nothing_in(clean(every_form()))


def test_evidence_is_private_and_holds_none(tmp_path):
    box = Box(Folder(tmp_path / "report").node("check"))
    box.put("console.log", "console", "Nova", every_form())
    box.lack("other", "x", "y", every_form())
    private(box.path / "index.html", "x")
    assert canaries.scan(tmp_path / "report", WORDS) == {}
    assert canaries.open_files(box.path) == []
    assert box.path.stat().st_mode & 0o077 == 0
    assert all(canaries.found(piece.missing.encode(), WORDS) == set() for piece in box.pieces)


def test_progress_shows_none_and_no_escapes(tmp_path):
    with (tmp_path / "out").open("w") as out, progress.to(out), progress.phase(f"wait for {WORDS['broker']}"):
        progress.note("\x1b]0;title\x07\x1b[2J" + every_form())
    told = (tmp_path / "out").read_text()
    nothing_in(told)
    assert "\x1b" not in told


def test_logs_warnings_and_tracebacks_of_libraries_show_none(tmp_path, capsys):
    handler = logging.FileHandler(tmp_path / "debug.log")
    logger = logging.getLogger("keystoneauth.session")
    logger.addHandler(handler)
    try:
        with outlets.guarded():
            logger.error('REQ: curl -d \'{"password": "%s"}\' -H "X-Auth-Token: %s"', WORDS["password"], WORDS["rpc"])
            logger.error("%(all)s", {"all": every_form()})
            try:
                raise RuntimeError(every_form())
            except RuntimeError as error:
                logger.exception("it broke")
                sys.excepthook(RuntimeError, error, error.__traceback__)
            text = warnings.formatwarning(UserWarning(every_form()), UserWarning, "x.py", 1, WORDS["rpc"])
    finally:
        logger.removeHandler(handler)
        handler.close()
    nothing_in(text)
    nothing_in((tmp_path / "debug.log").read_bytes())
    said = capsys.readouterr().err
    assert "RuntimeError" in said
    nothing_in(said)


def test_what_a_command_prints_shows_none(capsys):
    with outlets.streams():
        sys.stdout.write(json.dumps({"broker": WORDS["broker"], "url": f"https://u:{WORDS['rpc']}@h/"}))
        sys.stderr.write(every_form())
    told = capsys.readouterr()
    assert json.loads(told.out)
    nothing_in(told.out + told.err)


def test_a_wrong_use_of_the_command_shows_none(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OS_PASSWORD", WORDS["environment"])
    assert cli.main(["plan", f"{tmp_path}/{WORDS['environment']}\x1b[2J.toml"]) == 2
    said = capsys.readouterr().err
    nothing_in(said)
    assert "\x1b" not in said


def test_generated_passwords_are_known_at_once():
    word = database.password()
    assert canaries.found(clean(f"password was {word} {word.encode().hex()}").encode(), {"generated": word}) == set()


def test_pytest_with_an_image_shows_none_anywhere(tmp_path):
    """A check that prints, logs, warns of and fails with secrets: terminal, JUnit and report.json."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/test_leak.py").write_text(
        "import logging, os, sys, warnings\n"
        "SECRET = os.environ['LEAK_PASSWORD']\n"
        "def test_leak(definition, record_property):\n"
        "    '''A check that leaks.'''\n"
        "    print(SECRET, '\\x1b[2J'); print(SECRET.encode().hex(), file=sys.stderr)\n"
        "    logging.getLogger('keystoneauth').warning('token %s', SECRET)\n"
        "    warnings.warn(SECRET)\n"
        "    record_property('x', SECRET)\n"
        "    local = SECRET\n"
        "    assert definition.name == SECRET, f'{SECRET} \\x1b]0;x\\x07'\n"
    )
    word = WORDS["application"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
         "-c", os.devnull, "--rootdir", str(tmp_path),
         "--image", "mariadb-debian", "--stage", "disk", "-l", "-rA",
         "--junit-xml=junit.xml", "--log-file=pytest.log", "checks"],
        cwd=tmp_path, capture_output=True, timeout=120,
        env={**os.environ, "LEAK_PASSWORD": word, "IMAGECHECK_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert re.search(rb"1 failed|1 error", done.stdout), done.stdout + done.stderr
    words = {"application": word}
    assert canaries.found(done.stdout + done.stderr, words) == set()
    assert b"\x1b[2J" not in done.stdout
    (tmp_path / "checks/test_leak.py").unlink()
    for file in (tmp_path / "junit.xml", tmp_path / "pytest.log", *(tmp_path / "report").rglob("*.json")):
        assert canaries.found(file.read_bytes(), words) == set(), file
    assert (tmp_path / "junit.xml").exists()


@pytest.mark.sandbox
def test_a_real_run_leaves_no_canary_and_no_secret_on_a_command_line(tmp_path):
    """The sandbox's own secrets are the canaries: a boot stage, failing on purpose, with everything kept."""
    from imagecheck import sandbox
    from imagecheck.sandbox.folder import Folder as Sandbox

    sandbox.up()
    folder: Sandbox = sandbox.require_running("epoxy").folder  # the plan holds every secret of this cloud
    secrets = json.loads(folder.plan.read_text())["secrets"]
    words = {name: word for name, word in secrets.items() if isinstance(word, str) and len(word) >= 8}
    words["guest key"] = "".join(folder.guest_key.read_text().split("-----")[2].split())[70:130]
    (tmp_path / "test_fails.py").write_text(
        "def test_fails(guest):\n    '''Fails.'''\n    assert not guest.boot_id()\n"
    )
    with canaries.watched(words) as processes:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--image", "mariadb-debian", "--stage", "boot", "--log-level=DEBUG", "-l",
             "-rA", "--junit-xml", str(tmp_path / "junit.xml"), "--log-file", str(tmp_path / "debug.log"),
             "--report", str(tmp_path / "report"), str(tmp_path / "test_fails.py")],
            cwd=tmp_path, capture_output=True, timeout=1800, check=False,
        )  # fmt: skip
    (tmp_path / "out").write_bytes(done.stdout + done.stderr)
    assert b"1 failed" in done.stdout, done.stdout[-3000:]
    assert canaries.scan(tmp_path, words) == {}
    assert processes.looks > 10
    assert processes.seen == set()
    assert all(not canaries.open_files(box.parent) for box in (tmp_path / "report").rglob("fault.txt"))
