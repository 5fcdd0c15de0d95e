"""Receivers of webhooks on this machine, as bad as they may be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers what `behave` says of a request: a status, or None when it wrote its own."""

    behave: Callable[[BaseHTTPRequestHandler, Received], int | None] = lambda handler, received: 204
    received: list[Received] = field(default_factory=list)
    accepted: list[Received] = field(default_factory=list)
    url: str = ""
    port: int = 0


@contextmanager
def receiving(port: int = 0, receiver: Receiver | None = None) -> Iterator[Receiver]:
    """A receiver that listens until the end of the block."""
    mine = receiver or Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            one = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            mine.received.append(one)
            status = mine.behave(self, one)
            if status is None:
                return
            if 200 <= status < 300:
                mine.accepted.append(one)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", mine.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            # Whoever was cut off by the sender.
            return

    server = Quiet(("127.0.0.1", port), Handler)
    mine.port = server.server_address[1]
    mine.url = f"http://127.0.0.1:{mine.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
