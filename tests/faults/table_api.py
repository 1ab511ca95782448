"""Faults of the cloud's APIs: a proxy in front of all of them spoils requests or answers."""

from __future__ import annotations

from proxy import Fault
from row import Row
from ways import Through

_NOVA, _GLANCE = "8774", "9292"


API = (
    Row("api-503-storm", "api", "3 of 10 requests are answered 503", "register",
        Through(Fault("answer", status=503, share=0.3)), "passed", r"retried \d+ requests?: .*503"),
    Row("api-429", "api", "1 of 4 requests is answered 429 with Retry-After: 1", "register",
        Through(Fault("answer", status=429, share=0.25, headers={"Retry-After": "1"})), "passed",
        r"retried \d+ requests?: .*429"),
    Row("api-closed", "api", "1 of 5 connections is closed instead of an answer", "register",
        Through(Fault("close", share=0.2)), "passed", r"retried \d+ requests?: .*reset"),
    Row("api-cut", "api", "1 of 5 answers ends half-way", "register",
        Through(Fault("cut", share=0.2)), "passed", r"retried \d+ requests?: .*cut off"),
    Row("api-slow", "api", "every request takes two seconds more", "register",
        Through(Fault("slow", after=2.0)), "passed", ""),
    Row("api-token-expiry", "api", "each token is refused once, at its fifth use", "register",
        Through(Fault("expire", after=5)), "passed", ""),
    Row("api-lost-image", "api", "Glance makes the image, and the answer is lost (504)", "register",
        Through(Fault("lost", status=504, methods=("POST",), path=rf"^{_GLANCE}/v2/images$", times=1)), "passed",
        r"glance 504"),
    Row("api-lost-server", "api", "Nova makes the server, and the answer is lost (504)", "boot",
        Through(Fault("lost", status=504, methods=("POST",), path=rf"^{_NOVA}/v2.1/servers$", times=1)), "passed",
        r"nova 504"),
    Row("api-nova-500", "api", "Nova answers 500 to every request for a server", "boot",
        Through(Fault("answer", status=500, methods=("POST",), path=rf"^{_NOVA}/v2.1/servers$")), "cloud", "HTTP 500"),
    Row("api-glance-500", "api", "Glance answers 500 to every upload", "register",
        Through(Fault("answer", status=500, methods=("PUT",), path=rf"^{_GLANCE}/v2/images/.*/file")), "cloud",
        "HTTP 500"),
    Row("api-keystone-503", "api", "Keystone answers 503 to everything", "register",
        Through(Fault("answer", status=503, path="^5000/")), "refused", "cannot be (used|reached).*503"),
)  # fmt: skip
