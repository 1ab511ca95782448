"""Causes that the guest agent, its unit and its configuration tell of. Data only; checked against Trove 23 (2025.1)."""

from __future__ import annotations

from imagecheck.causes.row import Facts, Place, Row

_LOGS: tuple[Place, ...] = ("agent", "journal", "console")
_UNIT = r"(?:trove-guestagent|guest-agent|trove-guest)\.service"
# The beginning of the agent's own message: in its log, in the journal, or behind oslo.log's head.
_SAID = (
    r"(?:^|guest-?agent\[\d+\]: "
    r"|(?:ERROR|CRITICAL) (?:root|trove[\w.]{0,60}) (?:\[[^\]]{0,80}\] )?(?:Unhandled error: )?)"
)
_LIVES = ("Creating user and group for database service", "Preparing the storage for", "Starting datastore prepare")
_GOT_ON = ("Starting datastore prepare",)


def _storm(facts: Facts) -> str:
    restarts = facts.agent_restarts or 0
    young = facts.agent_up is None or facts.agent_up < 30 or facts.agent_active != "active"
    return f"NRestarts={restarts}, {facts.agent_active or 'state not known'}" if restarts >= 5 and young else ""


def _older(facts: Facts) -> str:
    inside, outside = facts.agent_release.partition(".")[0], facts.cloud_release.partition(".")[0]
    if not (inside.isdigit() and outside.isdigit()) or inside == outside:
        return ""
    return f"agent {facts.agent_release}, control plane {facts.cloud_release}"


ROWS = (
    Row("agent-no-guest-info", "boot", "image", 43, "the agent found no guest_info.conf (it knows no datastore "
        "manager)",
        "look at cloud-init's data source; the file must lie below --config-dir and be readable",
        "trove/cmd/guest.py main, 2025.1", _LOGS, ("registered for datastore manager None",),
        r"Manager class not registered for datastore manager None\b", cleared=_LIVES, confidence="certain", fatal=True,
        times=3, grace=10, known=(2,), proven=True),
    Row("agent-unknown-manager", "boot", "image", 63, "the agent of this image knows no datastore manager {what}",
        "compare the manager of the datastore version with what this release of the agent has, or register it "
        "(datastore_registry_ext)", "trove/cmd/guest.py main, trove/guestagent/dbaas.py, 2025.1", _LOGS,
        ("Manager class not registered",),
        r"Manager class not registered for datastore manager (?!None\b)(?P<what>\S{1,64})", cleared=_LIVES,
        confidence="certain", fatal=True, proven=True),
    Row("agent-no-guest-id", "boot", "image", 63, "the agent found a guest_info.conf without guest_id",
        "the file was cut off or is not Trove's: compare it with what taskmanager injected",
        "trove/cmd/guest.py main, 2025.1", _LOGS, ("The guest_id parameter is not set",),
        r"The guest_id parameter is not set\. guest_info\.conf was not injected", cleared=_LIVES, confidence="certain",
        fatal=True, known=(2,), proven=True),
    Row("config-unreadable", "boot", "image", 65, "the agent may not read {what}",
        "owner and mode must let the agent's user read it: compare injected_config_owner with User= of its unit",
        "oslo.config, cfg.py ConfigFilesPermissionDeniedError", _LOGS, ("Failed to open some config files",),
        r"Failed to open some config files: (?P<what>\S{1,200})", cleared=_LIVES, confidence="certain", fatal=True,
        known=(3,), proven=True),
    Row("config-missing", "boot", "image", 61, "the agent's configuration {what} is not there",
        "make the folder in the image; cloud-init writes into it only when it got its data",
        "oslo.config, cfg.py ConfigDirNotFoundError, ConfigFilesNotFoundError", _LOGS,
        ("Failed to read config file directory", "Failed to find some config files"),
        r"(?:Failed to read config file directory|Failed to find some config files): (?P<what>\S{1,200})",
        cleared=_LIVES, confidence="certain", fatal=True, times=3, grace=10, known=(2, 4), proven=True),
    Row("config-malformed", "boot", "cloud", 64, "the agent cannot parse {what}",
        "correct trove-guestagent.conf on the taskmanager's host; carriage returns and cut-off lines do this too",
        "oslo.config, cfg.py ConfigFileParseError, ConfigFileValueError", _LOGS,
        ("Failed to parse /", "ConfigFileValueError: "),
        r"Failed to parse (?P<what>/\S{1,200}): |ConfigFileValueError: (?P<value>.{1,160})", cleared=_LIVES,
        confidence="certain", fatal=True, proven=True),
    Row("agent-options", "boot", "image", 63, "the agent and its configuration are of different releases ({what})",
        "build the image with the control plane's release of the agent (DIB_REPOREF_guest_agent)",
        "oslo.config, cfg.py NoSuchOptError; element guest-agent pins master", _LOGS, ("NoSuchOptError: ",),
        r"NoSuchOptError: (?P<what>no such option \S{1,60} in group \[\S{1,60}\])", confidence="certain", fatal=True,
        known=(12,), proven=True),
    Row("agent-module-missing", "boot", "image", 66, "the agent's Python lacks {what}",
        "install the agent with its requirements (upper-constraints of the same release) into the interpreter that "
        "its unit starts", "Python, importlib", ("agent", "journal"), ("ModuleNotFoundError: ", "ImportError: "),
        _SAID + r"(?:ModuleNotFoundError: No module named |ImportError: )(?P<what>.{1,160})", cleared=_GOT_ON,
        confidence="certain", fatal=True, known=(12,), proven=True),
    # Python prints these bare, oslo.log as what nobody caught (log.py, _create_logging_excepthook); what a living agent
    # logs of a request has another logger's head before it.
    Row("agent-code", "boot", "image", 66, "the agent's code is broken: {what}",
        "the traceback before it in the journal names the file; install the agent's package again, or mend the plugin",
        "Python, exceptions: what no second try can mend", ("agent", "journal"),
        ("NameError: ", "SyntaxError: ", "IndentationError: "),
        r"(?:guest-?agent\[\d+\]: |CRITICAL (?:root|trove) \[-\] Unhandled error: )"
        r"(?P<what>(?:NameError|SyntaxError|IndentationError): .{1,160})",
        confidence="certain", fatal=True, proven=True),
    Row("agent-program-missing", "boot", "image", 66, "systemd cannot start the agent's program ({what})",
        "compare ExecStart= of the agent's unit with what is installed",
        "systemd, src/core/exec-invoke.c; systemd.exec(5): 203/EXEC", _LOGS, ("203/EXEC", "at step EXEC spawning"),
        _UNIT + r": (?:Main process exited, code=exited, status=203/EXEC"
        r"|Failed at step EXEC spawning (?P<what>[^:]{1,160}))", confidence="certain", fatal=True, proven=True),
    Row("agent-user-missing", "boot", "image", 66, "the agent's user is not in the image",
        "make the user that User= of the agent's unit names", "systemd, src/core/exec-invoke.c; systemd.exec(5): "
        "217/USER", _LOGS, ("217/USER", "at step USER spawning"),
        _UNIT + r": (?:Main process exited, code=exited, status=217/USER|Failed at step USER spawning)",
        confidence="certain", fatal=True, proven=True),
    Row("agent-environment", "boot", "image", 67, "this image was built in dev mode: its agent waits for files and "
        "code "
        "from a controller", "build it with DEV_MODE=false; a dev unit copies the agent from the controller over SSH "
        "at each start", "Trove, integration/scripts/files/elements/guest-agent guest-agent-dev.service", _LOGS,
        ("Failed to load environment files", "trove-installed"),
        _UNIT + r": Failed to load environment files: |guest-agent\S{0,40}: .{0,200}/trove-installed\b",
        confidence="certain", fatal=True, times=2, known=(11,), proven=True),
    Row("agent-folder", "boot", "image", 62, "systemd cannot prepare a folder for the agent ({what})",
        "WorkingDirectory=, RuntimeDirectory= and their owners must exist in the image",
        "systemd.exec(5): 200/CHDIR, 233/RUNTIME_DIRECTORY, 240/LOGS_DIRECTORY", _LOGS,
        ("status=200/CHDIR", "status=233/", "status=238/", "status=239/", "status=240/"),
        _UNIT + r": Main process exited, code=exited, status=(?P<what>200/CHDIR|2(?:33|38|39|40)/\w{1,40})",
        confidence="certain", fatal=True, proven=True),
    Row("agent-denied", "boot", "image", 60, "the agent may not use {what}",
        "give the agent's user that file or folder, or the right to sudo", "Python, OSError; open(2) EACCES",
        ("agent", "journal"), ("PermissionError: ",),
        _SAID + r"PermissionError: \[Errno 13\] Permission denied: '(?P<what>[^']{1,200})'",
        cleared=_GOT_ON, confidence="certain", fatal=True, times=2, proven=True),
    Row("agent-sudo", "boot", "image", 62, "the agent may not use sudo", "give its user NOPASSWD in /etc/sudoers.d "
        "(owner root, mode 0440)", "sudo, plugins/sudoers; trove/guestagent/common/operating_system.py", _LOGS,
        ("sudo: a password is required", "sudo: a terminal is required", "is not in the sudoers file",
         "sudo: command not found"),
        r"sudo: a (?:password|terminal) is required|is not in the sudoers file|sudo: command not found",
        confidence="certain", fatal=True, times=2, grace=5, proven=True),
    Row("agent-uid-taken", "boot", "image", 62, "the agent cannot make the database's user: {what}",
        "uid and gid 1001 (database_service_uid) must be free in the image, or be the user 'database'",
        "trove/guestagent/common/operating_system.py create_user, 2025.1", _LOGS,
        ("Failed to add group", "Failed to add user"), r"(?P<what>Failed to add (?:group|user) .{1,160})",
        confidence="certain", fatal=True, proven=True),
    Row("agent-gone-folder", "boot", "image", 60, "the agent misses {what}", "make /opt/trove-guestagent in the image, "
        "owned by the agent's user", "trove/guestagent/datastore/service.py begin_install, 2025.1", ("agent",
        "journal"),
        ("/opt/trove-guestagent",),
        r"(?:FileNotFoundError|No such file or directory): .{0,40}'?(?P<what>/opt/trove-guestagent[^']{0,120})",
        confidence="certain", fatal=True),
    Row("no-data-device", "boot", "cloud", 61, "the data disk {what} is not there",
        "without volumes (volume_support=False) the flavor needs an ephemeral disk; the agent wants device_path all "
        "the same", "trove/guestagent/volume.py _check_device_exists, 2025.1", _LOGS, ("' is not ready.",),
        r"Device '(?P<what>/dev/\w{1,20})' is not ready\.", cleared=_GOT_ON, confidence="certain", fatal=True, times=2,
        known=(8,), proven=True),
    Row("data-device-format", "boot", "image", 59, "the agent cannot format the data disk {what}",
        "mkfs for volume_fstype must be in the image (e2fsprogs, xfsprogs), and nothing else may hold the disk",
        "trove/guestagent/volume.py FSExt.format, 2025.1", _LOGS, ("Could not format '",),
        r"Could not format '(?P<what>/dev/\w{1,20})'", cleared=_GOT_ON, confidence="certain", fatal=True),
    Row("data-on-root", "service", "cloud", 30, "the database's data does not lie on the disk that Trove gave it",
        "cloud-init's default mount of the ephemeral disk takes it first: add mounts: [[ephemeral0, null]] to "
        "<manager>.cloudinit", "trove/cmd/guest.py main (device.mount_points); cloud-init, cc_mounts",
        holds=lambda f: "the data directory is on another device" if f.data_mounted is False and f.prepare_started
        else "", known=(8,)),
    Row("registry-login", "service", "cloud", 58, "the agent's login at the container registry failed: {what}",
        "compare [guest_agent] container_registry, _username and _password with the registry",
        "trove/guestagent/datastore/manager.py Manager.__init__, 2025.1", _LOGS,
        ("Failed to login the container registry",),
        r"Failed to login the container registry, error: (?P<what>.{1,160})",
        confidence="certain", fatal=True, known=(6, 7), proven=True),
    Row("rpc-version", "service", "image", 65, "the agent is older than the control plane: {what}",
        "build the image with the control plane's release of the agent, or cap it: [upgrade_levels] guestagent",
        "oslo.messaging 16.1, rpc/dispatcher.py; trove/guestagent/api.py", ("agent", "journal", "trove"),
        ("Endpoint does not support RPC",), r"(?P<what>Endpoint does not support RPC (?:version|method) \S{1,40})",
        confidence="certain", fatal=True, known=(12,), proven=True),
    Row("release-differs", "service", "image", 26, "agent and control plane are of different releases",
        "build the image with the control plane's release of the agent (DIB_REPOREF_guest_agent)",
        "trove/guestagent/api.py API_LATEST_VERSION", holds=_older, known=(12,)),
    Row("prepare-failed", "service", "image", 32, "the agent could not prepare the database: {what}",
        "the agent's log has the traceback", "trove/guestagent/datastore/manager.py _prepare, 2025.1", _LOGS,
        ("Failed to prepare datastore: ",), r"Failed to prepare datastore: (?P<what>.{1,200})", confidence="certain",
        fatal=True, known=(6,), proven=True),
    Row("database-late", "service", "image", 34, "the database did not get healthy in the time that the agent gives it "
        "({what})", "raise state_change_wait_time in trove-guestagent.conf on slow machines; look at the container's "
        "log and for 'Out of memory'", "trove/guestagent/datastore/service.py wait_for_status, 2025.1", _LOGS,
        ("Timeout while waiting for database status",),
        r"Timeout while waiting for database status to change\.(?P<what>.{0,120})", confidence="certain", fatal=True,
        known=(15,)),
    Row("users-not-made", "service", "image", 27, "the agent could not make the users or databases asked for: {what}",
        "the agent's log has the database's own words", "trove/guestagent/datastore/manager.py _prepare, 2025.1",
        _LOGS, ("An error occurred creating ",),
        r"An error occurred creating (?:users|databases): (?P<what>.{1,160})"),
    Row("agent-dead", "boot", "image", 25, "systemd gave up on the agent after too many quick failures",
        "StartLimitIntervalSec=0 and RestartSec=5 in its unit, and After= cloud-init's unit that writes the files",
        "systemd, src/core/unit.c; systemd.unit(5): StartLimitIntervalSec=", _LOGS, ("Start request repeated too",),
        _UNIT + r": Start request repeated too quickly", confidence="certain", fatal=True,
        holds=lambda f: f"{f.agent_active}, Result={f.agent_result}" if f.agent_result == "start-limit-hit" else "",
        proven=True),
    Row("agent-storm", "boot", "image", 20, "the agent starts again and again", "its own log and its part of the "
        "journal say why", "systemd, src/core/service.c service_enter_restart", _LOGS, ("restart counter is at ",),
        _UNIT + r": Scheduled restart job, restart counter is at (?:[5-9]|\d\d+)\.", holds=_storm, fatal=True, grace=5,
        times=2, proven=True),
    # Not AssertionError: with Python 3.13 eventlet prints one after every fork of a healthy agent.
    Row("agent-crash", "boot", "image", 30, "the agent crashes: {what}", "the traceback before it in the journal says "
        "where", "Python's or oslo.log's own report of an exception that nobody caught", ("agent", "journal"),
        ("Error: ", "Exception: ", "Refused: ", "Failure: "),
        r"(?:guest-?agent\[\d+\]: |CRITICAL (?:root|trove) \[-\] Unhandled error: )"
        r"(?P<what>(?!AssertionError|RuntimeError: (?:Manager class|The guest_id)|oslo_config\.)[\w.]{0,80}"
        r"(?:Error|Exception|Refused|Failure): .{1,160})",
        cleared=_GOT_ON, fatal=True, times=3, grace=8, proven=True),
    Row("agent-not-enabled", "boot", "image", 57, "the agent's unit is not there or not enabled",
        "install its unit and `systemctl enable` it in the image", "systemctl(1): LoadState, UnitFileState",
        holds=lambda f: "no such unit" if f.agent_loaded is False else "not enabled and not active"
        if f.agent_enabled is False and f.agent_active in ("inactive", "failed") else "", confidence="certain",
        fatal=True, grace=5),
    Row("agent-down", "boot", "image", 21, "the agent is not running",
        "its own log and its part of the journal say why",
        "systemctl(1): ActiveState", holds=lambda f: f"{f.agent_active}, Result={f.agent_result or '?'}"
        if f.agent_active in ("failed", "inactive") and f.cloud_init == "done" else "", fatal=True, grace=20),
)  # fmt: skip
