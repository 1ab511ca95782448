"""Causes that Nova, Neutron, Glance and Trove tell of in faults and refusals. Data only; OpenStack 2025.1."""

from __future__ import annotations

from imagecheck.causes.row import Place, Row

_NOVA: tuple[Place, ...] = ("nova", "trove")  # Trove quotes Nova's fault in its own
_TROVE: tuple[Place, ...] = ("trove",)

ROWS = (
    Row("no-valid-host", "boot", "cloud", 50, "Nova found no hypervisor for the server",
        "is nova-compute up, and has it the flavor's memory, disk and traits free? A server group or availability zone "
        "can forbid the rest", "nova/exception.py NoValidHost", _NOVA, ("No valid host was found",),
        r"No valid host was found", confidence="certain", fatal=True, retry=True, known=(16,), proven=True),
    Row("hosts-gave-up", "boot", "cloud", 49, "every hypervisor that Nova tried failed",
        "see nova-actions.json in the evidence and nova-compute's log", "nova/exception.py MaxRetriesExceeded", _NOVA,
        ("Exceeded maximum number of retries", "Exhausted all hosts available"),
        r"Exceeded maximum number of retries|Exhausted all hosts available for retrying", confidence="certain",
        fatal=True, retry=True, known=(16,), proven=True),
    Row("hypervisor-full", "boot", "cloud", 55, "the hypervisor has no room for the server: {what}",
        "free memory or disk on it", "nova/exception.py ComputeResourcesUnavailable", _NOVA,
        ("Insufficient compute resources", "No space left on device", "Cannot allocate memory"),
        r"(?P<what>Insufficient compute resources.{0,100}|No space left on device|Cannot allocate memory)",
        confidence="certain", fatal=True, retry=True, known=(16,)),
    Row("qemu-refused", "boot", "cloud", 54, "QEMU does not start the server: {what}",
        "nova-compute's and libvirt's logs; image properties (hw_machine_type, hw_firmware_type, hw_disk_bus) can do "
        "this too", "libvirt, src/qemu/qemu_monitor.c", _NOVA,
        ("process exited while connecting to monitor", "unexpectedly closed the monitor", "unsupported configuration"),
        r"(?P<what>(?:process exited while connecting to monitor|unexpectedly closed the monitor"
        r"|unsupported configuration).{0,160})", confidence="certain", fatal=True, known=(16,)),
    Row("flavor-disk", "disk", "image", 66, "the flavor's disk is smaller than the image",
        "a flavor with a larger root disk, or a smaller DIB_IMAGE_SIZE",
        "nova/exception.py FlavorDiskSmallerThanImage, FlavorDiskSmallerThanMinDisk", _NOVA,
        ("Flavor's disk is ", "Flavor's memory is too small"),
        r"Flavor's (?:disk|memory) is (?:too small for requested image|smaller than the minimum)", confidence="certain",
        fatal=True, known=(14,), proven=True),
    Row("image-too-large", "disk", "cloud", 65, "Glance does not take an image of this size",
        "raise image_size_cap, the image quota, or the proxy's body size; or make the image smaller",
        "glance/common/exception.py ImageSizeLimitExceeded; RFC 9110: 413", ("nova", "trove"),
        ("image exceeds the limit", "413 Request Entity Too Large", "Request Entity Too Large", "HTTP 413"),
        r"image exceeds the limit|Request Entity Too Large|\bHTTP 413\b", confidence="certain", fatal=True,
        known=(14,)),
    Row("image-unusable", "disk", "image", 62, "Nova cannot use the image: {what}",
        "check it (qemu-img check, qemu-img info); its format in Glance must be what the file is",
        "nova/exception.py ImageUnacceptable, InvalidDiskInfo; nova/virt/images.py", _NOVA,
        ("is unacceptable: ", "Image content is not", "Image not in a supported format"),
        r"(?P<what>Image \S{1,60} is unacceptable: .{1,120}|Image content is not .{1,80}"
        r"|Image not in a supported format)", confidence="certain", fatal=True, proven=True),
    Row("image-gone", "boot", "cloud", 58, "Nova does not find the image ({what})",
        "has somebody deleted it, or can the service project not see it?", "nova/exception.py ImageNotFound", _NOVA,
        ("could not be found", "Corrupt image download", "Can not find requested image"),
        r"(?P<what>Image \S{1,60} could not be found|Corrupt image download|Can not find requested image)",
        confidence="certain", fatal=True, known=(16,), proven=True),
    Row("network-not-plugged", "boot", "cloud", 52, "the server's network ports were not plugged: {what}",
        "Neutron's agent (or ovn-controller) on the hypervisor; its log names the port",
        "nova/exception.py VirtualInterfaceCreateException, PortBindingFailed; nova/compute/manager.py", _NOVA,
        ("Failed to allocate the network(s)", "Virtual Interface creation failed", "Binding failed for port",
         "binding_failed"),
        r"(?P<what>Failed to allocate the network\(s\)|Virtual Interface creation failed"
        r"|Binding failed for port \S{1,40}"
        r"|vif_type=binding_failed)", confidence="certain", fatal=True, retry=True, known=(16,)),
    Row("keypair-missing", "boot", "cloud", 60, "Nova does not know Trove's key pair",
        "create nova_keypair as user trove in the service project: `openstack keypair create --user trove`",
        "nova/exception.py KeypairNotFound; Trove, nova_keypair", _NOVA, ("Invalid key_name provided", "Keypair "),
        r"Invalid key_name provided|Keypair \S{1,60} not found for user", confidence="certain", fatal=True,
        known=(16,), proven=True),
    Row("quota", "boot", "cloud", 59, "a quota is used up: {what}", "raise it, or remove what is left of earlier runs "
        "(`imagecheck gc`); Trove's servers and ports count for the service project",
        "nova/exception.py TooManyInstances; neutron_lib OverQuota; trove/common/exception.py QuotaExceeded", _NOVA,
        ("Quota exceeded", "quota exceeded", "OverQuota"),
        r"(?P<what>[Qq]uota exceeded.{0,120}|OverQuota.{0,60})", confidence="certain", fatal=True, known=(16,),
        proven=True),
    Row("user-data-too-long", "boot", "cloud", 64, "the injected files are larger than Nova's user-data may be",
        "Trove packs them twice in base64: about 36 kB of text is the ceiling; shorten trove-guestagent.conf or "
        "<manager>.cloudinit", "nova/api/openstack/compute/schemas/servers.py user_data maxLength 65535", _NOVA,
        ("user_data", "User data"), r"field/attribute user_data\. Value: \S{300}|user_data.{0,80} is too long"
        r"|User data too large",
        confidence="certain", fatal=True, known=(4,), proven=True),
    Row("no-addresses-left", "boot", "cloud", 60, "the network has no free addresses", "remove what is left of earlier "
        "runs, or enlarge the subnet's pool", "neutron_lib/exceptions IpAddressGenerationFailure", _NOVA,
        ("No more IP addresses available",), r"No more IP addresses available on network", confidence="certain",
        fatal=True, known=(16,), proven=True),
    Row("network-missing", "boot", "cloud", 60, "the network {what} is not there or not visible to Trove",
        "management_networks must be a network that the service project can see",
        "neutron_lib/exceptions NetworkNotFound; nova/exception.py NetworkNotFound", _NOVA,
        ("Network ", "Unable to find network"), r"Network (?P<what>[0-9a-f-]{36}) could not be found"
        r"|Unable to find network", confidence="certain", fatal=True, known=(16,), proven=True),
    Row("port-security-off", "boot", "cloud", 60, "the network has port security off, and Trove's ports need it",
        "switch port security on for the network", "neutron, PortSecurityAndIPRequiredForSecurityGroups", _NOVA,
        ("Port security must be enabled",), r"Port security must be enabled", confidence="certain", fatal=True,
        known=(16,), proven=True),
    Row("no-router", "boot", "cloud", 60, "the tenant subnet {what} is on no router, and Trove asks for one",
        "attach it, or set [network] enable_access_check = False", "trove/common/neutron.py check_subnet_router",
        _TROVE, ("is not associated with router",), r"(?:Subnet (?P<what>\S{1,60}) )?is not associated with router",
        confidence="certain", fatal=True, known=(16,), proven=True),
    Row("port-failed", "boot", "cloud", 40, "Trove could not create the {what}", "trove-taskmanager's log has "
        "Neutron's "
        "own words", "trove/taskmanager/models.py _create_port, 2025.1", _TROVE, (" port for instance ",),
        r"Failed to create (?P<what>(?:User|Management) port) for instance", confidence="certain", fatal=True,
        retry=True, known=(16,)),
    Row("volume-failed", "boot", "cloud", 41, "Trove could not create the volume", "cinder-volume's log; is there a "
        "volume type and room?", "trove/taskmanager/models.py _create_volume, 2025.1", _TROVE,
        ("Failed to create volume",), r"Failed to create volume\b", confidence="certain", fatal=True, retry=True,
        known=(16,)),
    Row("no-local-storage", "boot", "cloud", 60, "the flavor has no disk for the database's data",
        "without volumes (volume_support=False) it needs an ephemeral disk", "trove/common/exception.py "
        "LocalStorageNotSpecified, 2025.1", _TROVE, ("Local storage not specified in flavor",),
        r"Local storage not specified in flavor", confidence="certain", fatal=True, known=(8,), proven=True),
    Row("server-failed", "boot", "cloud", 35, "Nova gave up on the server: {what}", "see Nova's fault and "
        "nova-actions.json in the evidence", "trove/taskmanager/models.py _service_is_active, 2025.1", _TROVE,
        ("Server not active, status:", "Failed to create server for instance"),
        r"Server not active, status: \w{1,20}, fault message: (?P<what>.{1,160})|Failed to create server for instance",
        confidence="certain", fatal=True, known=(16,)),
    Row("build-aborted", "boot", "cloud", 33, "Nova aborted the build: {what}", "nova-compute's log",
        "nova/exception.py BuildAbortException", _NOVA, ("Build of instance ",),
        r"Build of instance \S{1,60} (?:aborted|was re-scheduled): (?P<what>.{1,160})", confidence="certain",
        fatal=True, known=(16,)),
    Row("nova-error", "boot", "cloud", 9, "Nova calls the server ERROR", "see Nova's fault and nova-actions.json in "
        "the "
        "evidence", "Nova, API: server status",
        holds=lambda f: "server status ERROR" if f.server_status == "ERROR" else "", fatal=True, known=(16,)),
    Row("agent-said-failed", "service", "image", 11, "the agent said that it could not set up the database",
        "its log says why", "trove/guestagent/datastore/service.py end_install, 2025.1", _TROVE,
        ("Service not active, status: ",), r"Service not active, status: (?P<what>failed to spawn|shutdown|crashed)",
        holds=lambda f: f"the agent told Trove: {f.told}" if f.told == "failed to spawn" else "", fatal=True,
        known=(6, 15), proven=True),
    Row("agent-silent", "boot", "image", 8, "Trove heard nothing of the agent until its time was over",
        "was the agent started, did it get its files, does it reach the broker?",
        "trove/taskmanager/models.py wait_for_instance; usage_timeout", _TROVE, ("Polling request timed out",),
        r"Polling request timed out", holds=lambda f: "the agent told Trove: guestagent error"
        if f.told == "guestagent error" else "", fatal=True, known=(1,)),
    Row("call-timed-out", "service", "cloud", 14, "Trove's call to the agent took longer than Trove waits",
        "agent_call_low_timeout is 15 s by default while docker may take minutes to stop a database: set 30 s to 60 s",
        "trove/guestagent/api.py; trove/common/exception.py GuestTimeout, 2025.1", _TROVE,
        ("Timeout trying to connect to the Guest Agent",), r"Timeout trying to connect to the Guest Agent",
        retry=True, known=(18,)),
    Row("rebuild-no-cloudinit", "service", "cloud", 60, "Trove cannot rebuild an instance without a "
        "<manager>.cloudinit "
        "file", "put an (even empty '#cloud-config') file into cloudinit_location",
        "trove/taskmanager/models.py combine_cloudinit_userdata, 26.0.0", _TROVE,
        ("'NoneType' object has no attribute 'read'",), r"'NoneType' object has no attribute 'read'",
        confidence="certain", known=(19,)),
    Row("catalogue", "service", "cloud", 56, "the catalogue has no {what} that Trove can use",
        "add the endpoint, then restart trove-taskmanager: it keeps the old catalogue",
        "trove/common/exception.py NoServiceEndpoint; keystoneauth1 EndpointNotFound", _TROVE,
        ("Endpoint not found for service_type=", "endpoint for ", "EndpointNotFound"),
        r"Endpoint not found for service_type=(?P<what>[\w-]{1,40})|endpoint for "
        r"(?P<other>[\w-]{1,40}) service in|EndpointNotFound", confidence="certain"),
    Row("api-failed", "boot", "cloud", 7, "an API of the cloud failed: could not {what}", "that service's own log, and "
        "what stands before it (proxy, load balancer); then run again", "RFC 9110, 15.6; imagecheck/cloud/retry.py",
        _TROVE, ("HTTP 5", "HTTP 429", "Unable to establish connection", "was cut off", " timed out"),
        r"could not (?P<what>[a-z][^:\n]{2,80}: (?:HTTP (?:429|5\d\d)\b.{0,100}|Unable to establish connection.{0,100}"
        r"|the answer of \S+ was cut off|Request to \S+ timed out))", proven=True),
    Row("made-gone", "boot", "cloud", 57, "what this run made is gone, and it was not this run that removed it: could "
        "not {what}", "does another job clean up in this project, or did the service's database lose what it had "
        "confirmed?", "RFC 9110, 15.5.5; imagecheck/cloud/connection.py Missing", _TROVE, (": not found",),
        r"could not (?P<what>[a-z][^:\n]{2,80}): not found", proven=True),
    Row("nova-stuck", "boot", "cloud", 8, "Nova does not go on with the server: it stays at BUILD ({what})",
        "nova-scheduler, nova-conductor and nova-compute, and their database and broker: was one of them restarted, or "
        "away, meanwhile? Their logs, then a new server",
        "nova/conductor/manager.py schedule_and_build_instances, 2025.1", _TROVE,
        ("for Nova to call the server ACTIVE",), r"for Nova to call the server ACTIVE; seen last: BUILD "
        r"\((?P<what>scheduling|no task|networking|block_device_mapping)\)", proven=True),
    Row("taskmanager-lost", "service", "cloud", 12, "the database serves and its agent says so, but Trove stays at "
        "BUILD: the task that made the instance is not worked on any more", "was trove-taskmanager restarted, or "
        "killed, meanwhile? It does not take up again what it had begun: its log, then a new instance",
        "trove/taskmanager/models.py wait_for_instance; a cast that was acknowledged is not sent again, 2025.1",
        holds=lambda f: "the agent told Trove: healthy; Trove: BUILD" if (f.status, f.told) == ("BUILD", "healthy")
        else "", fatal=True, grace=60, retry=True, proven=True),
    Row("active-not-healthy", "service", "image", 10, "Trove calls the instance ACTIVE though the database does not "
        "serve", "ACTIVE says only that Nova is active and no task runs: look at the container and its log",
        "trove/instance/models.py SimpleInstance.status, 2025.1",
        holds=lambda f: f"{f.status}/{f.operating_status}"
        if f.status == "ACTIVE" and f.operating_status in ("SHUTDOWN", "CRASHED", "FAILED", "ERROR", "BLOCKED") else "",
        grace=90, known=(20,)),
)  # fmt: skip
