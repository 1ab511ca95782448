"""Causes that cloud-init tells of: no data, or data that it cannot use. Data only; checked against cloud-init 25.1."""

from __future__ import annotations

from imagecheck.causes.row import Place, Row

_ALL: tuple[Place, ...] = ("console", "journal", "cloud-init")
_NETWORK = "is the metadata service (or its agent on the management network) up, and has the guest a route to it?"

ROWS = (
    Row("owner-missing", "boot", "image", 70,
        "cloud-init cannot give the injected files to {what}: the image has no such user or group, so the files that "
        "come after are never written",
        "make the user in the image, or set injected_config_owner and injected_config_group to what it has",
        "cloud-init 25.1, cloudinit/util.py chownbyname; Trove story 2010021", _ALL, ("Unknown user or group",),
        r"Unknown user or group: .{0,3}get(?:pw|gr)nam\(\): name not found: '(?P<what>[^']{1,64})'",
        confidence="certain", fatal=True, known=(3,), proven=True),
    Row("files-not-written", "boot", "image", 69, "cloud-init did not write all injected files",
        "/var/log/cloud-init.log has the traceback after this line",
        "cloud-init 25.1, cloudinit/config/modules.py _run_modules", _ALL, ("Running module write",),
        r"Running module write[_-]files \(.{1,200}\) failed", confidence="certain", fatal=True, known=(3,)),
    Row("module-missing", "boot", "image", 70, "cloud-init's module {what} is not in the image",
        "install cloud-init whole; do not remove modules from its package",
        "cloud-init 25.1, cloudinit/config/modules.py _fixup_modules", _ALL, ("Could not find module named cc_write",),
        r"Could not find module named (?P<what>cc_write_files)", confidence="certain", fatal=True, known=(2,)),
    Row("datasource-import", "boot", "image", 70, "cloud-init cannot load {what}, which datasource_list names",
        "correct datasource_list in /etc/cloud/cloud.cfg.d, or install cloud-init whole",
        "cloud-init 25.1, cloudinit/sources/__init__.py list_sources", _ALL, ("Could not import DataSource",),
        r"Could not import (?P<what>DataSource\w{1,40})\. Does the DataSource exist", confidence="certain",
        known=(2,)),
    Row("no-datasource", "boot", "image", 67, "cloud-init found no data source, so the guest gets none of its files",
        "put ConfigDrive and OpenStack into datasource_list; on the cloud's side use_nova_server_config_drive or the "
        "metadata service must be on", "cloud-init 25.1, cloudinit/cmd/main.py main_init; DataSourceNone", _ALL,
        ("No instance datasource found!", "Datasource DataSourceNone", "Used fallback datasource"),
        r"No instance datasource found! Likely bad things to come!|finished at .{1,80}Datasource DataSourceNone\b"
        r"|\[WARNING\]: Used fallback datasource", confidence="certain", fatal=True, known=(2,)),
    Row("metadata-unreachable", "boot", "network", 68, "the guest does not reach the metadata service ({what})",
        _NETWORK, "cloud-init 25.1, cloudinit/url_helper.py wait_for_url", _ALL,
        ("Calling 'http", "Giving up on OpenStack md from"),
        r"Calling '(?P<what>http://(?:169\.254\.169\.254|\[fe80::a9fe:a9fe[^\]]{0,20}\])[^']{0,80})' failed \["
        r"|Giving up on OpenStack md from", cleared=("Datasource DataSourceConfigDrive", "Datasource "
        "DataSourceOpenStack"),
        known=(2,)),
    Row("drive-broken", "boot", "cloud", 68, "cloud-init cannot read the config drive ({what})",
        "look at Nova's config_drive_format and at the drive in a rescue boot",
        "cloud-init 25.1, cloudinit/sources/DataSourceConfigDrive.py", _ALL,
        ("Broken config drive: ", "Failed reading config drive from "),
        r"(?:Broken config drive: |Failed reading config drive from )(?P<what>\S{1,120})", confidence="certain",
        known=(2,)),
    Row("no-nic", "boot", "image", 71, "the guest has no network card that its config drive names",
        "is the card's driver (virtio_net) in the image, and does nothing take it away at boot?",
        "cloud-init 25.1, cloudinit/sources/helpers/openstack.py convert_net_json", _ALL,
        ("Unable to find a system nic for",), r"Unable to find a system nic for", confidence="certain", fatal=True,
        known=(2,), proven=True),
    Row("user-data-yaml", "boot", "cloud", 68, "the user-data is no valid cloud-config: {what}",
        "correct the operator's <manager>.cloudinit below cloudinit_location (`cloud-init schema --config-file`); "
        "before Trove 24 it must not begin with a second '#cloud-config'",
        "cloud-init 25.1, cloudinit/util.py load_yaml, cloudinit/handlers/cloud_config.py; Trove story 2011309", _ALL,
        ("Failed loading yaml blob", "Failed at merging in cloud config part"),
        r"(?P<what>Failed loading yaml blob.{0,160}|Failed at merging in cloud config part from .{1,120})",
        confidence="certain", fatal=True, known=(4,), proven=True),
    Row("user-data-kind", "boot", "cloud", 67, "cloud-init does not know what kind of user-data this is",
        "its first line must be '#cloud-config', without a byte-order mark or anything before it",
        "cloud-init 25.1, cloudinit/handlers/__init__.py", _ALL, ("Unhandled non-multipart",),
        r"Unhandled non-multipart \(text/x-not-multipart\) userdata", confidence="certain", fatal=True, known=(4,)),
    Row("user-data-failed", "boot", "cloud", 66, "cloud-init could not use the user-data",
        "/var/log/cloud-init.log has the traceback after this line",
        "cloud-init 25.1, cloudinit/cmd/main.py main_init", _ALL, ("Consuming user data failed!",),
        r"Consuming user data failed!", confidence="certain", fatal=True, known=(4,)),
    Row("user-data-schema", "boot", "cloud", 14, "cloud-init found keys in the user-data that it does not take",
        "`cloud-init schema --system` in the guest names them", "cloud-init 25.1, cloudinit/config/schema.py", _ALL,
        ("cloud-config failed schema validation!",), r"cloud-config failed schema validation!"),
    Row("stage-crashed", "boot", "image", 62, "cloud-init's stage {what} crashed",
        "the traceback below it says why; Python or cloud-init of the image is damaged, or they do not fit each other",
        "cloud-init 25.1, cloudinit/cmd/main.py status_wrapper", _ALL, ("failed stage ", "failed run of stage "),
        r"failed (?:run of )?stage (?P<what>init-local|init|modules-config|modules-final)\b", confidence="certain",
        fatal=True),
    # systemd shortens long lines on a console: "cloud-init-local.s…ud-init: Local Stage".
    Row("stage-failed", "boot", "image", 43, "cloud-init's {what} stage did not start, so the guest got nothing of "
        "what it was given",
        "its status and log on the guest's disk say why; is the root disk full, or its Python damaged?",
        "cloud-init 25.1, systemd/cloud-init-local.service, cloud-init-network.service", ("console",),
        ("Failed to start cloud-init-",), r"\[FAILED\] Failed to start cloud-init-(?P<what>local|network)",
        confidence="certain", fatal=True, known=(2,), proven=True),
    Row("stage-hangs", "boot", "image", 24, "the boot waits for {what}",
        "a unit of cloud-init is masked or waits for a network that does not come",
        "systemd, src/core/manager.c; cloud-init 24.3 and newer run their stages in one process", ("console",),
        ("A start job is running for",),
        r"A start job is running for (?P<what>\S{0,60}cloud-\S{1,60}).{0,80}\((?:[5-9]|\d\d)min ", fatal=True, times=3,
        grace=20),
    Row("cloud-init-disabled", "boot", "image", 69, "cloud-init is switched off in the image",
        "remove /etc/cloud/cloud-init.disabled, cloud-init=disabled and masks of its units; ds-identify must find the "
        "platform", "cloud-init 25.1, cloudinit/cmd/status.py, tools/ds-identify", ("cloud-init",),
        ("Cloud-init disabled by", "status: disabled"), r"Cloud-init disabled by|^status: disabled",
        holds=lambda f: "cloud-init status: disabled" if f.cloud_init == "disabled" else "", confidence="certain",
        fatal=True, known=(2,)),
    Row("cloud-init-error", "boot", "image", 16, "cloud-init ended with an error",
        "`cloud-init status --long` and /var/log/cloud-init.log in the guest say which",
        "cloud-init 25.1, cloudinit/cmd/status.py", ("cloud-init",), ("status: error",),
        r"^(?:extended_)?status: error",
        holds=lambda f: "cloud-init status: error" if f.cloud_init == "error" else ""),
    Row("guest-info-missing", "boot", "image", 44, "guest_info.conf is not in the guest though cloud-init is done",
        "look at cloud-init's data source: `cloud-id`, datasource_list, config drive or metadata service",
        "trove/instance/models.py get_injected_files; trove/cmd/guest.py",
        holds=lambda f: f"cloud-init {f.cloud_init}, data source {f.datasource or 'not known'}, no guest_info.conf"
        if f.guest_info is False and f.cloud_init in ("done", "error") else "", confidence="certain", fatal=True,
        grace=5, known=(2, 4)),
    Row("guest-config-missing", "boot", "cloud", 68, "guest_info.conf is in the guest, trove-guestagent.conf is not",
        "taskmanager skips it silently when its guest_config (/etc/trove/trove-guestagent.conf) is not on its host",
        "trove/instance/models.py get_injected_files (os.path.isfile)",
        holds=lambda f: "guest_info.conf there, trove-guestagent.conf not"
        if f.guest_info and f.guest_config is False and f.cloud_init in ("done", "error") else "", fatal=True,
        grace=5, known=(3,)),
    Row("guest-id-differs", "boot", "image", 69, "the guest's guest_info.conf is of another instance",
        "a guest_info.conf was baked into the image, or cloud-init took an old instance's data: clean /var/lib/cloud "
        "and /etc/trove/conf.d when the image is made", "trove/cmd/guest.py; cloud-init clean",
        holds=lambda f: "guest_id is not that of this instance" if f.guest_id_fits is False else "",
        confidence="certain", fatal=True, known=(2,)),
)  # fmt: skip
