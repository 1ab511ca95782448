"""The injection matrix's pure parts: what is sent, what is expected, what is judged, and how it is told."""

import base64
import configparser
import json

import pytest
import yaml

from imagecheck import injection
from imagecheck.causes import TABLE
from imagecheck.cloud.offers import refusal
from imagecheck.guest import redeliver
from imagecheck.guest.config_drive import guest_info
from imagecheck.hostcmd import Completed
from imagecheck.injection import BY_NAME, CONTENTS, IN_GUEST, NOBODY, Cell, Files, Seen

INFO, CONFIG = "/etc/trove/conf.d/guest_info.conf", "/etc/trove/conf.d/trove-guestagent.conf"
FILES = Files(
    INFO,
    guest_info(guest_id="an-id", manager="mariadb", version="11.8", tenant="a-project"),
    CONFIG,
    "[DEFAULT]\ntransport_url = rabbit://someone:opensesame@192.0.2.1:5672/\n",
    "trove:trove",
)


def sent(content):
    """path -> (text, entry) of what cloud-init is to write."""
    entries = yaml.safe_load(injection.user_data(content, FILES))["write_files"]
    return {one["path"]: (base64.b64decode(one["content"]).decode(), one) for one in entries}


def parsed(text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return dict(parser.defaults())


def test_every_cause_that_is_expected_is_a_row_of_the_table():
    known = {row.id for row in TABLE}
    assert {one.cause for one in CONTENTS if one.cause} <= known
    assert all(one.cause and one.says for one in CONTENTS if not one.starts)
    assert all(one.source for one in CONTENTS)


def test_good_and_crlf_say_the_same():
    good, crlf = sent("good"), sent("crlf")
    assert parsed(good[INFO][0]) == parsed(crlf[INFO][0])
    assert parsed(good[INFO][0])["guest_id"] == "an-id"
    assert crlf[CONFIG][0].count("\r\n") == FILES.config.count("\n")


def test_missing_lacks_guest_info_only():
    assert set(sent("missing")) == {CONFIG}
    assert injection.user_data("nothing", FILES) is None


def test_malformed_and_truncated_cannot_be_parsed():
    for content in ("malformed", "truncated"):
        text = sent(content)[INFO][0]
        assert "guest_id=an-id" in text
        with pytest.raises(configparser.Error):
            parsed(text)


def test_malformed_user_data_is_no_yaml():
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(injection.user_data("malformed-user-data", FILES))


def test_no_guest_id_and_wrong_manager_differ_in_one_key():
    good = parsed(FILES.info)
    without, wrong = parsed(sent("no-guest-id")[INFO][0]), parsed(sent("wrong-manager")[INFO][0])
    assert without == {key: text for key, text in good.items() if key != "guest_id"}
    assert wrong == good | {"datastore_manager": "imagecheck"}


def test_owner_and_mode_are_what_cloud_init_is_told():
    assert {one["owner"] for _, one in sent("owner").values()} == {f"{NOBODY}:{NOBODY}"}
    assert {(one["owner"], one["permissions"]) for _, one in sent("mode").values()} == {("root:root", "0600")}
    assert "permissions" not in sent("good")[INFO][1]


def test_over_long_is_beyond_novas_limit_and_holds_nothing_of_the_configuration():
    text = injection.user_data("over-long", FILES)
    assert injection.TOO_LONG < len(base64.b64encode(text.encode())) < 100_000
    assert base64.b64encode(b"opensesame")[:12].decode() not in text
    assert "opensesame" not in str(sent("over-long"))


def test_every_content_can_be_sent_and_an_unknown_one_cannot():
    for one in CONTENTS:
        injection.user_data(one.name, FILES)
    with pytest.raises(KeyError):
        injection.user_data("else", FILES)


# ---- judgement


@pytest.mark.parametrize("name", IN_GUEST)
def test_what_is_documented_is_not_wrong(name):
    one = BY_NAME[name]
    seen = Seen(one.starts, bool(one.says), "a line", (one.cause,), written=0 if not one.disk else 9, mounted=one.disk)
    assert injection.wrong(one, seen) == ()


def test_an_agent_that_starts_where_it_must_not_is_wrong():
    one = BY_NAME["missing"]
    (told,) = injection.wrong(one, Seen(True, True, causes=(one.cause,)))
    assert "consumes" in told


def test_silence_another_cause_and_a_touched_disk_are_wrong():
    one = BY_NAME["mode"]
    told = injection.wrong(one, Seen(False, False, "", ("agent-storm",), written=2048, mounted=True))
    assert len(told) == 3
    assert "Failed to open" in told[0]
    assert "'config-unreadable'" in told[1]
    assert "agent-storm" in told[1]
    assert "2048 sectors" in told[2]


def test_a_good_one_that_does_not_start_is_wrong():
    assert injection.wrong(BY_NAME["crlf"], Seen(False, line="it hangs")) == (
        "the agent did not consume from its queue (it hangs)",
    )


@pytest.mark.parametrize(
    ("carrier", "listed", "metadata", "expected"),
    [
        ("config drive", ["ConfigDrive"], False, True),
        ("config drive", ["OpenStack"], True, False),
        ("metadata service", ["ConfigDrive", "None"], True, False),
        ("metadata service", ["ConfigDrive", "OpenStack"], False, False),
        ("metadata service", ["ConfigDrive", "OpenStack"], True, True),
        ("metadata service", [], True, True),
        ("both", ["OpenStack"], False, False),
        ("both", ["ConfigDrive"], False, True),
        ("neither", [], True, False),
    ],
)
def test_the_expectation_follows_the_images_data_sources_and_the_cloud(carrier, listed, metadata, expected):
    assert injection.carries(carrier, listed, metadata) is expected


def test_a_column_is_right_only_with_the_console_as_witness():
    assert injection.arrived("neither", False, Seen(False, says=True)) == ()
    assert injection.arrived("neither", False, Seen(False), source=True) == ()
    assert "does not say" in injection.arrived("neither", False, Seen(False, line="login:"))[0]
    assert "agent starts" in injection.arrived("neither", False, Seen(True))[0]
    assert injection.arrived("metadata service", True, Seen(True)) == ()
    assert "does not start" in injection.arrived("metadata service", True, Seen(False))[0]


# ---- the table


CELLS = (
    Cell("config drive", "good", "starts", "boot"),
    Cell("config drive", "missing", "starts", "delivered again", ("the agent consumes",)),
    Cell("config drive", "over-long", "refused by Nova", "asked"),
    Cell("neither", "*", "no data", "boot"),
)


def test_the_table_has_a_row_for_each_content_and_marks_what_is_wrong():
    head, columns, *rows = injection.table_lines(CELLS)
    assert head == "injection matrix"
    assert columns.split() == ["files", "config", "drive", "metadata", "service", "both", "neither"]
    assert len(rows) == len(CONTENTS)
    told = {row.split()[0]: row for row in rows}
    assert "files" not in told
    assert "WRONG: starts" in told["missing"]
    assert told["good"].split() == ["good", "starts", "-", "-", "no", "data"]
    assert "refused by Nova" in told["over-long"]
    assert all(row.endswith("no data") for row in rows)


def test_novas_files_have_a_row_of_their_own():
    cells = [*CELLS, Cell("neither", injection.FILES_WAY, "discarded", "boot")]
    last = injection.table_lines(cells)[-1]
    assert last.split() == ["by", "Nova's", "`files`", "-", "-", "-", "discarded"]


def test_no_table_where_nothing_was_looked_at():
    assert injection.table_lines([]) == []


def test_the_report_has_the_fields_that_were_looked_at():
    told = injection.as_json(CELLS)
    assert len(json.loads(json.dumps(told))) == 4
    assert told[1]["wrong"] == ["the agent consumes"]


# ---- delivery


class RecordingGuest:
    """Keeps what it is asked to run; answers as a guest would."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def run(self, command, **how):
        self.asked.append((command, how))
        return Completed(json.dumps(self.answer), "", 0)


def test_what_is_delivered_never_stands_on_a_command_line():
    guest = RecordingGuest({"mark": {"cursor": "s=1", "log": 0, "written": 7}, "there": [INFO], "cloud_init": "well"})
    done = redeliver.deliver(
        guest, "#cloud-config\nopensesame", paths=(INFO, CONFIG), unit="an-agent.service", log="/l"
    )
    ((command, how),) = guest.asked
    assert command == "python3 -"
    assert "opensesame" in how["input"]
    compile(how["input"], "program", "exec")
    assert (done.there, done.mark["written"]) == ((INFO,), 7)


def test_a_look_begins_where_the_delivery_ended():
    guest = RecordingGuest({"journal": "j", "log": "l", "mounted": False, "written": None})
    seen = redeliver.look(guest, redeliver.Delivered((), "", {"cursor": "s=4711"}), unit="u", log="/l")
    ((_, how),) = guest.asked
    assert "s=4711" in how["input"]
    compile(how["input"], "program", "exec")
    assert (seen.journal, seen.log, seen.mounted, seen.written) == ("j", "l", False, None)


def test_a_refusal_is_told_without_the_data_that_it_repeats():
    value = base64.b64encode(b"opensesame" * 20).decode()
    said = refusal(json.dumps({"badRequest": {"message": f"field user_data. Value: {value}. '{value}' is too long"}}))
    assert said == "field user_data. Value: … … is too long"
    assert refusal("no json") == "no json"
