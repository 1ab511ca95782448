"""An addon of mitmproxy that spoils requests as it was told; runs in mitmdump, which knows nothing of imagecheck.

FAULTS names a folder: fault.json in it says what to do, counts.json is what was done, tokens what was seen of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mitmproxy import http

PLACE = Path(os.environ["FAULTS"])


class Faulty:
    """kind: answer | close | slow | cut | expire | lost; share of the requests; methods, path (a pattern), times."""

    def __init__(self) -> None:
        fault: dict[str, Any] = json.loads((PLACE / "fault.json").read_text())
        self.fault = fault
        self.kind = fault["kind"]
        self.random = random.Random(fault["seed"])
        self.uses: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def _meant(self, flow: http.HTTPFlow) -> bool:
        fault = self.fault
        if self.counts["spoiled"] >= (fault["times"] or 1 << 60):
            return False
        if fault["methods"] and flow.request.method not in fault["methods"]:
            return False
        asked = f"{flow.request.port}{flow.request.path}"
        return bool(re.search(fault["path"], asked)) and self.random.random() < fault["share"]

    def _count(self, word: str) -> None:
        self.counts[word] += 1
        (PLACE / "counts.json").write_text(json.dumps(self.counts))

    def _spoiled(self, flow: http.HTTPFlow) -> None:
        self._count("spoiled")
        with (PLACE / "spoiled.log").open("a") as log:
            log.write(f"{flow.request.method} {flow.request.port} {flow.request.path}\n")

    def _answer(self, flow: http.HTTPFlow, status: int) -> None:
        self._spoiled(flow)
        body = json.dumps({"error": {"code": status, "message": "spoiled by the proxy", "title": "spoiled"}})
        flow.response = http.Response.make(status, body, {"Content-Type": "application/json", **self.fault["headers"]})

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Before anything is passed on."""
        self._count("requests")
        token = flow.request.headers.get("X-Auth-Token", "")
        if self.kind == "expire" and token:
            self.uses[token] += 1
            if self.uses[token] == self.fault["after"]:
                self._answer(flow, 401)
        elif self.kind in ("answer", "close", "slow") and self._meant(flow):
            if self.kind == "answer":
                self._answer(flow, self.fault["status"])
            elif self.kind == "slow":
                self._spoiled(flow)
                await asyncio.sleep(self.fault["after"])
            else:
                self._spoiled(flow)
                flow.kill()

    def response(self, flow: http.HTTPFlow) -> None:
        """When the cloud has answered."""
        assert flow.response is not None
        if token := flow.response.headers.get("X-Subject-Token", ""):
            with (PLACE / "tokens").open("a") as file:
                file.write(f"{token}\n")
        if self.kind == "lost" and self._meant(flow):
            if flow.response.status_code < 300:  # it was carried out; the answer is lost
                self._answer(flow, self.fault["status"])
        elif self.kind == "cut" and flow.response.raw_content and self._meant(flow):
            self._spoiled(flow)
            length = len(flow.response.raw_content)
            flow.response.raw_content = flow.response.raw_content[: length // 2]
            flow.response.headers["Content-Length"] = str(length)  # more than will come
            flow.response.headers["Connection"] = "close"


addons = [Faulty()]
