"""The shop's HTTP server, which leaves without dropping a request.

On SIGTERM it goes on serving for DRAIN_SECONDS, because new requests arrive until every node has heard that this pod is
going: readiness is off, and each answer asks the client to close its connection. Then it stops listening and finishes what
it has begun.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

import psycopg

from . import database, orders

VERSION = os.environ.get("SHOP_VERSION", "unknown")
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "5"))
FINISH_SECONDS = 10.0

log = logging.getLogger("shop")


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, port: int, handler: type["Handler"]) -> None:
        super().__init__(("", port), handler)
        self.draining = threading.Event()
        self._busy = 0
        self._idle = threading.Condition()

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # IPv4 as well
        super().server_bind()

    def begin(self) -> None:
        with self._idle:
            self._busy += 1

    def finish(self) -> None:
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def drain(self) -> None:
        """Called once, in a thread of its own; `serve_forever` returns afterwards."""
        log.info("draining for %g s", DRAIN_SECONDS)
        self.draining.set()
        time.sleep(DRAIN_SECONDS)
        self.shutdown()

    def leave(self) -> None:
        """Take what is still in the queue, stop listening, and wait for what has begun."""
        self.socket.setblocking(False)
        try:
            while True:
                request, address = self.socket.accept()
                request.setblocking(True)
                self.process_request(request, address)
        except BlockingIOError:
            self.socket.close()
        time.sleep(0.1)  # a connection just taken counts as begun once its request has been read
        with self._idle:
            if not self._idle.wait_for(lambda: self._busy == 0, timeout=FINISH_SECONDS):
                log.warning("%d requests were not finished after %g s", self._busy, FINISH_SECONDS)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1  # headers and body leave together
    disable_nagle_algorithm = True

    # What another service on this server has instead (examples/customers).
    things, needed = "orders", "item"
    summary, add = staticmethod(orders.summary), staticmethod(orders.add)

    def do_GET(self) -> None:
        self._handle(self._get)

    def do_POST(self) -> None:
        self._handle(self._post)

    def _get(self) -> tuple[int, dict[str, Any]]:
        if self.path == "/healthz" and self.server.draining.is_set():
            return 503, {"version": VERSION, "ready": False, "reason": "draining"}
        if self.path not in ("/", "/healthz"):
            return 404, {"error": f"nothing at {self.path}"}
        with database.connect() as connection:
            return 200, {"version": VERSION, **self.summary(connection)}

    def _post(self) -> tuple[int, dict[str, Any]]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != f"/{self.things}":
            return 404, {"error": f"nothing at {self.path}"}
        try:
            thing = json.loads(body or b"null")
        except ValueError:
            thing = None
        if not isinstance(thing, dict) or not isinstance(thing.get(self.needed), str):
            return 400, {"error": f'{self.things} look like {{"{self.needed}": "..."}}'}
        with database.connect() as connection:
            return 201, {"version": VERSION, **self.add(connection, thing)}

    def _handle(self, answer: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        self.server.begin()
        try:
            try:
                status, content = answer()
            except psycopg.Error as error:
                reason = str(error).splitlines()[0]
                log.error("%s %s: %s", self.command, self.path, reason)
                status, content = 503 if self.path == "/healthz" else 500, {"version": VERSION, "error": reason}
            self._send(status, content)
        finally:
            self.server.finish()

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content, default=str).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.server.draining.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged; what fails is."""


def main(handler: type[Handler] = Handler) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    server = Server(int(os.environ.get("PORT", "8080")), handler)

    def terminate(number: int, frame: FrameType | None) -> None:
        if not server.draining.is_set():
            server.draining.set()
            threading.Thread(target=server.drain).start()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    log.info("shop %s listens on port %d", VERSION, server.server_port)
    server.serve_forever(poll_interval=0.1)
    server.leave()
    log.info("gone")


if __name__ == "__main__":
    main()
