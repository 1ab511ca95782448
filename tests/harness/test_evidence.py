"""Evidence must not carry secrets out: what Nova gives an administrator holds the broker's password twice encoded."""

import base64
import json

from imagecheck import evidence, redact
from imagecheck.cloud import nova
from imagecheck.guest.config_drive import cloud_config


class Raw:
    """A server as openstacksdk gives it; a real one is met on the sandbox, without a canary in it."""

    def __init__(self, **fields):
        self._fields = {"id": "i", "name": "n", "has_config_drive": "True", **fields}

    def to_dict(self):
        return dict(self._fields)


def test_user_data_is_no_evidence():
    secret = "canary-in-the-mine-31"
    redact.learn(secret)
    data = cloud_config({"/etc/x": f"transport_url = rabbit://u:{secret}@h/"}, "a:b")
    server = nova._server(Raw(user_data=base64.b64encode(data.encode()).decode(), admin_password=secret))
    text = json.dumps(server.raw, default=str)
    for _ in range(3):
        assert secret not in text
        words = [word for word in text.replace('"', " ").split() if len(word) > 40]
        text = " ".join(base64.b64decode(word + "===", validate=False).decode("latin-1") for word in words)
    assert server.config_drive


def test_saved_evidence_names_its_cause_or_none(tmp_path):
    (tmp_path / "fault.txt").write_text("Trove instance: waited 1200 s\n")
    (tmp_path / "trove-agent.log").write_text("2026-11-23 14:29:46.112 374 INFO trove.cmd.guest [-] Creating user\n")
    assert not evidence.explain(tmp_path).known
    (tmp_path / "trove-agent-journal.txt").write_text(
        "Nov 23 14:29:46 g trove-guestagent[3]: RuntimeError: Manager class not registered for datastore manager None\n"
    )
    found = evidence.explain(tmp_path)
    assert found.known
    assert "guest_info.conf" in found.sentence + found.remedy
    assert not evidence.explain(tmp_path / "nowhere").known
