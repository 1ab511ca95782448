"""User-data as Trove makes it: cloud-init itself must be able to read it back."""

import base64

import yaml
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.guest.config_drive import ConfigDrive, cloud_config, files_of, guest_info


@given(st.dictionaries(st.sampled_from(["/etc/trove/conf.d/a.conf", "/etc/b"]), st.text(min_size=1), min_size=1))
def test_every_content_survives_the_way(files):
    text = cloud_config(files, "trove:trove")
    assert text.startswith("#cloud-config\n")
    entries = yaml.safe_load(text)["write_files"]
    assert {one["path"]: base64.b64decode(one["content"]).decode("utf-8") for one in entries} == files
    assert {(one["encoding"], one["owner"]) for one in entries} == {("b64", "trove:trove")}

    assert files_of(text) == (files, "trove:trove")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["write_files", "path", "content", "owner"]), inner)).map(yaml.safe_dump))  # fmt: skip
def test_what_is_no_such_text_carries_nothing(text):
    files, owner = files_of(text)
    assert isinstance(owner, str)
    assert all(isinstance(one, str) for pair in files.items() for one in pair)


def test_guest_info_has_the_keys_that_the_agent_reads():
    text = guest_info(guest_id="i", manager="mariadb", version="11.8", tenant="t")
    assert text.splitlines() == [
        "[DEFAULT]", "guest_id=i", "datastore_manager=mariadb", "datastore_version=11.8", "tenant_id=t",
    ]  # fmt: skip


def test_the_carrier_is_what_cloud_init_says():
    def drive(source):
        return ConfigDrive("/dev/sr0", "", "", "", source, ())

    assert drive("DataSourceConfigDrive [net,ver=2][source=/dev/sr0]").carried
    assert not drive("DataSourceOpenStackLocal [net,ver=2]").carried
