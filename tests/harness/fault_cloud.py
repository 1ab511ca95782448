"""A local HTTP server in the place of a cloud's APIs, for faults that a real cloud cannot show on demand.

It knows just enough of Keystone, Nova and Trove for the real openstacksdk, keystoneauth and troveclient to talk to it;
what is tested are those libraries under imagecheck's session, never this server's idea of OpenStack.
"""

import json
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import yaml

from imagecheck.site import Site

PROJECT = "7bf95a17b7b64d099d1e592e60f660fa"
SERVER = "ed8660bc-92e1-43d8-96fe-45484af8a226"
SERVICES = {"identity": "/v3", "compute": "/compute/v2.1", "database": f"/database/v1.0/{PROJECT}",
            "image": "/image/v2"}  # fmt: skip


def answer(status, table=None, headers=None):
    """An ordinary answer."""

    def go(handler):
        body = json.dumps(table if table is not None else {}).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return go


def reset(handler):
    """The connection is torn down instead of an answer (RST)."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()


def truncated(handler):
    """Fewer bytes than were promised."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"flavors": [')
    handler.close_connection = True


def cut(handler):
    """No length is promised, and the JSON ends early."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(b'{"flavors": [')
    handler.close_connection = True


class FaultCloud:
    """``script[method, path]`` holds what comes first; then come ordinary answers. ``log`` is all that was asked."""

    def __init__(self):
        self.script = defaultdict(deque)
        self.log = []
        self.servers = []  # their names
        self.tokens = 0
        self.lasting = 10 * 365 * 86400.0  # seconds of the tokens that are given now
        self.sent = []  # sizes of the files that were uploaded
        self.catalogue = list(SERVICES)
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _any(self):
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length) if length else b""
                if upload := self.headers.get("Content-Type") == "application/octet-stream":
                    cloud.sent.append(len(raw))
                self.body = json.loads(raw or b"{}") if not upload else {}
                path = urlsplit(self.path).path
                cloud.log.append((self.command, path))
                waiting = cloud.script[self.command, path]
                (waiting.popleft() if waiting else cloud.usual(self.command, path))(self)

            do_GET = do_POST = do_PUT = do_DELETE = _any

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self._thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    def count(self, method, path):
        return self.log.count((method, path))

    def site(self, folder, **more):
        """A site of which both entries log in here; ``more`` is in both of them."""
        auth = {"auth_url": f"{self.url}/v3", "username": "u", "password": "pass-of-nobody", "project_name": "p",
                "user_domain_name": "Default", "project_domain_name": "Default"}  # fmt: skip
        entry = {"auth": auth, "identity_api_version": 3, **more}
        file = folder / "clouds.yaml"
        file.write_text(yaml.safe_dump({"clouds": {"admin": entry, "tenant": entry}}))
        return Site(cloud="admin", tenant_cloud="tenant", clouds_file=file)

    def make_server(self, handler=None):
        """What Nova does with a POST; ``answer`` follows unless a test takes it away."""
        self.servers.append(handler.body["server"]["name"])

    def made(self, handler):
        self.make_server(handler)
        answer(202, {"server": {"id": SERVER, "links": []}})(handler)

    def made_then_reset(self, handler):
        self.make_server(handler)
        reset(handler)

    def usual(self, method, path):
        compute = SERVICES["compute"]
        table = {
            "id": SERVER,
            "name": (self.servers or [""])[0],
            "status": "ACTIVE",
            "addresses": {},
            "metadata": {"imagecheck": "imagecheck-run"},
        }
        known = {
            ("GET", "/v3"): answer(200, {"version": {"id": "v3.14", "status": "stable", "links": [
                {"rel": "self", "href": f"{self.url}/v3/"}]}}),
            ("POST", "/v3/auth/tokens"): self.token,
            ("GET", compute): self.nova,
            ("GET", compute + "/"): self.nova,
            ("GET", f"{compute}/flavors/detail"): answer(200, {"flavors": []}),
            ("POST", f"{compute}/servers"): self.made,
            ("GET", f"{compute}/servers/detail"): answer(200, {"servers": [table] if self.servers else []}),
            ("GET", f"{compute}/servers/{SERVER}"): answer(200, {"server": table}),
            ("GET", f"{SERVICES['database']}/mgmt/instances"): answer(200, {"instances": []}),
            ("POST", f"{SERVICES['image']}/images"): answer(201, {"id": SERVER}),
            ("PUT", f"{SERVICES['image']}/images/{SERVER}/file"): answer(204),
            ("GET", f"{SERVICES['image']}/images/{SERVER}"): answer(
                200, {"id": SERVER, "status": "active", "size": (self.sent or [0])[-1]}),
        }  # fmt: skip
        return known.get((method, path), answer(404, {"itemNotFound": {"code": 404, "message": "not found"}}))

    def nova(self, handler):
        answer(200, {"version": {"id": "v2.1", "status": "CURRENT", "version": "2.100", "min_version": "2.1",
               "links": [{"rel": "self", "href": f"{self.url}{SERVICES['compute']}/"}]}})(handler)  # fmt: skip

    def token(self, handler):
        self.tokens += 1
        ends = datetime.fromtimestamp(time.time() + self.lasting, UTC)
        catalog = [
            {"type": kind, "name": kind, "id": kind, "endpoints": [
                {"interface": "public", "url": self.url + SERVICES[kind], "region": "RegionOne",
                 "region_id": "RegionOne", "id": kind}]}
            for kind in self.catalogue
        ]  # fmt: skip
        token = {"methods": ["password"], "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "D"}},
                 "project": {"id": PROJECT, "name": "p", "domain": {"id": "default", "name": "D"}},
                 "roles": [{"id": "r", "name": "admin"}], "catalog": catalog,
                 "issued_at": "2026-01-01T00:00:00.000000Z",
                 "expires_at": f"{ends:%Y-%m-%dT%H:%M:%S.000000Z}"}  # fmt: skip
        answer(201, {"token": token}, {"X-Subject-Token": f"canary-token-{self.tokens}"})(handler)
