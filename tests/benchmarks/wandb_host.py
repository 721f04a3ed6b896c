"""W&B hosts on this machine: as much of one as runs need, which may die on the way, and one that refuses everything."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

KEY = "0123456789" * 4

Answer = tuple[int, Mapping[str, Any]]


@dataclass
class WandbHost:
    """What reached it, and until when it answers.

    Attributes:
        url: of its root.
        requests: ``GraphQL <operation>``, or method and path, in the order in which they came.
        last: told each request as it comes; from the first for which it is true on, nobody is answered any more.
        dead: whether that was.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    last: Callable[[str], bool] = lambda request: False  # noqa: ARG005
    dead: bool = False

    def hears(self, request: str) -> bool:
        """Whether a request is answered."""
        self.dead = self.dead or self.last(request)
        if not self.dead:
            self.requests.append(request)
        return not self.dead

    def answer(self, operation: str, variables: Mapping[str, Any]) -> Answer:
        """To a GraphQL operation of W&B's client: https://github.com/wandb/wandb/tree/main/core/api/graphql."""
        run = {"id": "cnVu", "name": variables.get("name"), "displayName": "run", "project": PROJECT}
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in variables.get("files") or ()]
        artifact = {"id": "YXJ0", "state": "COMMITTED", "artifactSequence": {"id": "c2Vx", "latestArtifact": None}}
        return 200, {
            "data": {
                "Viewer": {"viewer": VIEWER},
                "UpsertBucket": {"upsertBucket": {"bucket": run, "inserted": True}},
                "CreateRunFiles": {"createRunFiles": {"runID": "cnVu", "uploadHeaders": [], "files": files}},
                "CreateArtifact": {"createArtifact": {"artifact": artifact}},
            }.get(operation, {"project": {"artifact": None}})
        }


class RefusingHost(WandbHost):
    """Answers that it does not."""

    def answer(self, operation: str, variables: Mapping[str, Any]) -> Answer:
        del operation, variables
        return 400, {"errors": [{"message": "no"}]}


VIEWER = {"id": "dXNy", "entity": "nobody", "username": "nobody", "flags": "{}", "teams": {"edges": []}}
PROJECT = {"id": "cHJv", "name": "veilbench", "entity": {"id": "ZW50", "name": "nobody"}}


@contextmanager
def listening(host: WandbHost) -> Iterator[WandbHost]:
    """A host, which listens on a port of its own as long as the block lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = json.loads(body) if self.path == "/graphql" else {}
            operation = str(asked.get("operationName"))
            if not host.hears(f"GraphQL {operation}" if asked else f"{self.command} {self.path}"):
                self.close_connection = True  # without an answer, as a host's kernel does when its process dies
                return
            code, content = host.answer(operation, asked.get("variables") or {})
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
