"""Servers for scenes inside a guest: stand-ins that make the real dockerd and the real agent say what they say.

They answer on the guest's own addresses only, and exist because no real registry or broker can be made to fail so.
"""

import http.server
import json
import socket
import ssl
import sys

ANSWERS = {
    "unknown": (404, "MANIFEST_UNKNOWN", "manifest unknown"),
    "denied": (401, "UNAUTHORIZED", "authentication required"),
    "rate": (429, "TOOMANYREQUESTS", "You have reached your pull rate limit."),
}
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ONE = "application/vnd.docker.distribution.manifest.v2+json"


class Registry(http.server.BaseHTTPRequestHandler):
    """Registry API v2, as far as a pull gets that fails."""

    def do_GET(self) -> None:
        said: dict[str, object]
        if self.path == "/v2/":
            code, said, kind = 200, {}, "application/json"
        elif sys.argv[2] == "arm64":
            platform = {"architecture": "arm64", "os": "linux"}
            one = {"mediaType": ONE, "size": 2, "digest": "sha256:" + "0" * 64, "platform": platform}
            code, said, kind = 200, {"schemaVersion": 2, "mediaType": LIST, "manifests": [one]}, LIST
        else:
            code, word, text = ANSWERS[sys.argv[2]]
            said, kind = {"errors": [{"code": word, "message": text}]}, "application/json"
        body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET


def tls(pem: str) -> None:
    """A TLS server with that certificate that says nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("", 5671)) as server:
        while True:
            client, _ = server.accept()
            try:
                context.wrap_socket(client, server_side=True).close()
            except OSError:
                continue


def hangs_up() -> None:
    """Takes connections and closes them."""
    with socket.create_server(("", 5677)) as server:
        while True:
            server.accept()[0].close()


if sys.argv[1] == "registry":
    http.server.HTTPServer(("", 5050), Registry).serve_forever()
elif sys.argv[1] == "port":
    socket.create_server(("", int(sys.argv[2]))).accept()
elif sys.argv[1] == "hangs-up":
    hangs_up()
elif sys.argv[1] == "tls":
    tls(f"/opt/provoke/{sys.argv[2]}.pem")
