"""Faults on the wire, through the real openstacksdk, keystoneauth and troveclient: 503, 429, resets, truncated bodies.

The cloud is a local HTTP server (fault_cloud.py): it stands for a cloud only to provoke what a real one cannot show on
demand. Nothing of the libraries is replaced.
"""

import http.server
import threading
import time
from concurrent import futures

import pytest
from fault_cloud import PROJECT, SERVER, SERVICES, FaultCloud, answer, cut, reset, truncated

from imagecheck.cloud import connection, glance, nova, retry, trove, volume
from imagecheck.cloud.connection import Hiccup, Missing, asking
from imagecheck.cloud.ledger import Ledger, everyone
from imagecheck.errors import StepFailed, UsageError
from imagecheck.imagefile import ImageFile
from imagecheck.redact import redact

FLAVORS = ("GET", f"{SERVICES['compute']}/flavors/detail")
SERVERS = ("POST", f"{SERVICES['compute']}/servers")
SHOW = ("GET", f"{SERVICES['compute']}/servers/{SERVER}")
INSTANCES = ("GET", f"{SERVICES['database']}/mgmt/instances")
BUSY = answer(503, {"message": "busy"})


@pytest.fixture
def faulty(monkeypatch):
    monkeypatch.delenv("OS_REGION_NAME", raising=False)
    monkeypatch.setattr(retry, "backoff", lambda _: 0.01)
    monkeypatch.setattr(retry, "SETTLE", 0.2)
    cloud = FaultCloud()
    yield cloud
    cloud.close()


@pytest.fixture
def cloud(faulty, tmp_path):
    return connection.connect(faulty.site(tmp_path))


def boot(cloud, folder):
    ledger = Ledger.new("imagecheck-run", cloud.site, folder / "ledger")
    return nova.boot(
        cloud, ledger, name="imagecheck-run", run="imagecheck-run", image="i", flavor="f", networks=["n"], group="g",
        keypair="k", user_data="x",
    )[0]  # fmt: skip


@pytest.mark.parametrize(("fault", "told"), [(BUSY, "503"), (reset, "reset"), (truncated, "cut off"), (cut, "cut off")])
def test_a_read_is_asked_again_and_counted(faulty, cloud, fault, told):
    faulty.script[FLAVORS] += [fault, fault]
    assert nova.flavors(cloud) == []
    assert faulty.count(*FLAVORS) == 3
    assert cloud.tally.sentence == f"retried 2 requests: nova {told} ×2"


def test_troves_client_is_served_by_the_same_rules(faulty, cloud):
    faulty.script[INSTANCES] += [answer(500, {"instanceFault": {"code": 500, "message": "x"}}), reset]
    assert trove.find(cloud, "x") == []
    assert cloud.tally.as_json() == {"trove": {"500": 1, "reset": 1}}


def test_retry_after_is_kept(faulty, cloud):
    faulty.script[FLAVORS] += [answer(429, {}, {"Retry-After": "1"})]
    began = time.monotonic()
    nova.flavors(cloud)
    assert time.monotonic() - began >= 1
    assert cloud.tally.as_json() == {"nova": {"429": 1}}


def test_retry_after_ends_with_patience(faulty, cloud):
    faulty.script[FLAVORS] += [answer(429, {}, {"Retry-After": "3600"})] * 9
    began = time.monotonic()
    with retry.patience(0.3), pytest.raises(Hiccup, match="HTTP 429"):
        nova.flavors(cloud)
    assert time.monotonic() - began < 5
    assert faulty.count(*FLAVORS) <= 2, "once at the beginning, once at the end"


def test_a_service_that_let_all_patience_pass_is_asked_once_until_it_answers(faulty, cloud):
    faulty.script[FLAVORS] += [BUSY] * 10000
    with retry.patience(0.3), pytest.raises(Hiccup, match="could not list flavors: HTTP 503"):
        nova.flavors(cloud)
    asked = faulty.count(*FLAVORS)
    assert asked >= 2
    with pytest.raises(Hiccup):
        nova.flavors(cloud)
    assert faulty.count(*FLAVORS) == asked + 1
    faulty.script[FLAVORS].clear()
    nova.flavors(cloud)
    faulty.script[FLAVORS] += [BUSY]
    nova.flavors(cloud)


def test_a_create_whose_answer_was_lost_is_found_by_name_and_not_made_twice(faulty, cloud, tmp_path):
    faulty.script[SERVERS] += [faulty.made_then_reset]
    assert boot(cloud, tmp_path).id == SERVER
    assert faulty.servers == ["imagecheck-run"]
    assert faulty.count(*SERVERS) == 1
    assert cloud.tally.as_json() == {"nova": {"reset": 1}}


def test_a_create_that_did_not_happen_is_made_once_more(faulty, cloud, tmp_path):
    faulty.script[SERVERS] += [BUSY]
    assert boot(cloud, tmp_path).id == SERVER
    assert faulty.servers == ["imagecheck-run"]
    assert faulty.count(*SERVERS) == 2


def test_a_404_just_after_the_create_is_waited_for(faulty, cloud, tmp_path):
    faulty.script[SHOW] += [answer(404, {"itemNotFound": {"message": "x"}})]
    assert boot(cloud, tmp_path).id == SERVER
    assert cloud.tally.as_json() == {"nova": {"404 after its create": 1}}


def test_a_404_of_something_old_is_an_answer(faulty, cloud):
    faulty.script[SHOW] += [answer(404, {"itemNotFound": {"message": "x"}})]
    with pytest.raises(Missing):
        nova.show(cloud, SERVER)
    assert cloud.tally.total == 0


def test_a_quota_is_not_retried_and_says_what_to_raise(faulty, cloud, tmp_path):
    words = "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
    faulty.script[SERVERS] += [answer(403, {"forbidden": {"code": 403, "message": words}}, {"Retry-After": "0"})]
    with pytest.raises(StepFailed, match="already used 10 of 10") as told:
        boot(cloud, tmp_path)
    assert "instances: 10 of 10 used; raise it with `openstack quota set --instances N" in told.value.remedy
    assert (faulty.count(*SERVERS), cloud.tally.total) == (1, 0)


def test_troves_quota_comes_with_retry_after_and_is_not_retried(faulty, cloud):
    path = f"{SERVICES['database']}/instances"
    words = "Quota exceeded for resources: ['instances']."
    faulty.script["POST", path] += [answer(413, {"overLimit": {"code": 413, "message": words}}, {"Retry-After": "0"})]
    with pytest.raises(StepFailed) as told, asking("Trove instance", "create the instance"):
        cloud.trove_tenant.instances.create("x", flavor_id="1")
    assert "openstack database quota update PROJECT instances N" in told.value.remedy
    assert faulty.count("POST", path) == 1


def test_a_token_that_expired_is_replaced_and_never_printed(faulty, cloud):
    before = faulty.tokens
    faulty.script[FLAVORS] += [answer(401, {"error": {"code": 401, "message": "expired"}})]
    assert nova.flavors(cloud) == []
    assert (faulty.tokens, faulty.count(*FLAVORS), cloud.tally.total) == (before + 1, 2, 0)
    assert redact(f"seen canary-token-{faulty.tokens} here") == "seen *** here"


def test_troves_client_gets_a_new_token_too(faulty, cloud):
    before = faulty.tokens
    faulty.script[INSTANCES] += [answer(401, {"unauthorized": {"code": 401, "message": "expired"}})]
    assert trove.find(cloud, "x") == []
    assert (faulty.tokens, faulty.count(*INSTANCES)) == (before + 1, 2)


def test_a_401_that_stays_is_no_expired_token_and_asked_no_third_time(faulty, cloud):
    faulty.script[INSTANCES] += [answer(401, {"unauthorized": {"code": 401, "message": "not for you"}})] * 3
    with pytest.raises(StepFailed, match="refused to list instances"):
        trove.find(cloud, "x")
    assert faulty.count(*INSTANCES) == 2


def test_a_token_whose_time_is_nearly_over_is_replaced_before_it_is_refused(faulty, tmp_path):
    faulty.lasting = 20.0  # keystoneauth takes the last two minutes for over (identity/base.py, MIN_TOKEN_LIFE)
    cloud = connection.connect(faulty.site(tmp_path))
    faulty.lasting, before = 3600.0, faulty.tokens
    for _ in range(3):
        assert nova.flavors(cloud) == []
        assert trove.find(cloud, "x") == []
    assert faulty.tokens == before + 1
    assert faulty.count(*FLAVORS) == faulty.count(*INSTANCES) == 3  # none of them was refused


def test_an_upload_whose_token_expired_sends_the_whole_file_again(faulty, cloud, tmp_path):
    file = tmp_path / "image.raw"
    file.write_bytes(bytes(3 * 2**20))
    sent = ("PUT", f"{SERVICES['image']}/images/{SERVER}/file")
    faulty.script[sent] += [answer(401, {"error": {"code": 401, "message": "expired"}})]
    ledger = Ledger.new("imagecheck-run", cloud.site, tmp_path / "ledger")
    image = ImageFile(file, "raw", 3 * 2**20, 3 * 2**20, "ab" * 32, {})
    glance.upload(cloud, ledger, image, name="imagecheck-run", run="imagecheck-run")
    assert faulty.sent == [3 * 2**20, 3 * 2**20]


def test_without_a_cinder_there_are_no_volumes_and_nobody_is_asked(faulty, cloud):
    before = len(faulty.log)
    assert volume.find(cloud, "x") == []
    assert len(faulty.log) == before


def test_a_keystone_that_is_busy_is_asked_again_for_a_token(faulty, tmp_path):
    faulty.script["POST", "/v3/auth/tokens"] += [BUSY, reset]
    cloud = connection.connect(faulty.site(tmp_path))
    assert cloud.tally.as_json() == {"keystone": {"503": 1, "reset": 1}}
    assert cloud.tenant_project == PROJECT


def test_keystones_versions_count_as_keystones_and_not_as_an_address(faulty, tmp_path):
    faulty.script["GET", "/v3"] += [answer(503)]
    cloud = connection.connect(faulty.site(tmp_path))
    assert cloud.tally.as_json() == {"keystone": {"503": 1}}


def test_a_services_versions_count_as_its_own(faulty, cloud):
    faulty.script["GET", "/compute/v2.1"] += [BUSY]
    faulty.script["GET", "/compute/v2.1/"] += [BUSY]
    assert nova.flavors(cloud) == []
    assert set(cloud.tally.as_json()) == {"nova"}


def test_a_service_that_the_catalogue_lacks_is_a_sentence(faulty, tmp_path):
    faulty.catalogue = ["identity", "database"]
    cloud = connection.connect(faulty.site(tmp_path))
    with pytest.raises(StepFailed, match="could not|refused to list flavors.*catalogue"):
        nova.flavors(cloud)


def test_a_region_without_trove_is_a_sentence(faulty, tmp_path, monkeypatch):
    monkeypatch.setenv("OS_REGION_NAME", "RegionTwo")
    with pytest.raises(UsageError, match="no Trove in its catalogue of its region 'RegionTwo'"):
        connection.connect(faulty.site(tmp_path))
    entry = faulty.site(tmp_path, region_name="RegionOne")
    assert connection.connect(entry).admin.config.region_name == "RegionOne", "what the entry says counts"


def test_an_entry_of_several_regions_is_used_in_the_one_that_is_named(faulty, tmp_path, monkeypatch):
    monkeypatch.setenv("OS_REGION_NAME", "RegionOne")
    there = faulty.site(tmp_path, regions=["RegionZero", "RegionOne"])
    assert connection.connect(there).admin.config.region_name == "RegionOne"
    # What was made there is removed there, also by a `gc` whose environment names no region, or another one.
    ledger = Ledger.new("imagecheck-run", connection.connect(there).site, tmp_path / "ledger")
    (read,) = everyone(ledger.path.parent)[0]
    monkeypatch.delenv("OS_REGION_NAME")
    with pytest.raises(UsageError, match="RegionZero"):
        connection.connect(there)
    assert connection.connect(read.owner.site).admin.config.region_name == "RegionOne"
    monkeypatch.setenv("OS_REGION_NAME", "RegionNine")
    assert connection.connect(read.owner.site).admin.config.region_name == "RegionOne"
    with pytest.raises(UsageError, match="RegionNine is not a valid region.*RegionZero"):
        connection.connect(there)


def test_fifty_threads_keep_a_connection_each():
    threads, dialled = 50, []
    together = threading.Barrier(threads, timeout=30)

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            dialled.append(self.client_address)
            super().setup()

        def do_GET(self):
            together.wait()  # every one of them is under way before the first is answered
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = threads

    with Server(("127.0.0.1", 0), Answers) as server, futures.ThreadPoolExecutor(threads) as pool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        session, url = retry.Session(), f"http://127.0.0.1:{server.server_port}/"
        for _ in range(3):
            assert {one.status_code for one in pool.map(lambda _: session.get(url), range(threads))} == {200}
        session.close()
        server.shutdown()
    assert len(dialled) == threads
