"""What cloud-init has to show in a guest: its stages run again, one after the other, over a config drive of our own.

The drive is a file with a file system labelled config-2 behind a loop device; cloud-init finds it by its label
(cloud-init 25.1, cloudinit/sources/DataSourceConfigDrive.py find_candidate_devs).
"""

from __future__ import annotations

from provoked_guest import Scene

PACKAGES = "/usr/lib/python3/dist-packages/cloudinit"
INCLUDE = "#include\\nfile:///opt/provoke/nothing\\n"  # what it names is not there
SOURCES = "/etc/cloud/cloud.cfg.d/99-provoked.cfg"


def drive(id: str, *, user: str = "#cloud-config\\n{}\\n", meta: str = '{"uuid": "i-1", "hostname": "guest"}',
          before: str = "true", undo: str = "true", kept: str = "cat /var/log/cloud-init.log") -> Scene:  # fmt: skip
    """All stages over a drive with that user-data and metadata; what ``kept`` prints is the text."""
    return Scene(id, "cloud-init", f"{before}; drive '{user}' '{meta}' >/dev/null; stages >/dev/null; {kept}",
                 f"no_drive; {undo}")  # fmt: skip


def sources(names: str) -> str:
    """Only these in datasource_list."""
    return f"echo 'datasource_list: [{names}]' >{SOURCES}"


SCENES = (
    drive("module-missing", before=f"mv {PACKAGES}/config/cc_write_files.py /opt/provoke/",
          undo=f"mv /opt/provoke/cc_write_files.py {PACKAGES}/config/"),
    drive("datasource-import", before=sources("ConfigDriv"), undo=f"rm {SOURCES}"),
    Scene("no-datasource", "cloud-init", "stages >/dev/null; cat /var/log/cloud-init.log"),
    Scene("metadata-unreachable", "cloud-init", f"{sources('OpenStack')}; stages >/dev/null; "
          "cat /var/log/cloud-init.log", f"rm {SOURCES}"),
    drive("drive-broken", meta='{"uuid": "i-1", "host'),
    drive("user-data-kind", user="[DEFAULT]\\nguest_id=1\\n"),
    drive("user-data-schema", user="#cloud-config\\nwrite_file: []\\n"),
    drive("stage-crashed", user=INCLUDE),
    drive("cloud-init-error", user="#cloud-config\\nruncmd: [[/bin/false]]\\n", kept="cloud-init status --long"),
    Scene("cloud-init-disabled", "cloud-init", "touch /etc/cloud/cloud-init.disabled; cloud-init status --long",
          "rm /etc/cloud/cloud-init.disabled"),
)  # fmt: skip
