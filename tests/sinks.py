# SPDX-License-Identifier: Apache-2.0
"""Receivers of alerts that are real: an HTTP server and a mail server on loopback, which keep what they get."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Sink:
    """`port`: where it listens. `posts`: headers and body of each; `mails`: as they came; `fails`: so many are refused
    before one is taken."""

    port: int = 0
    fails: int = 0
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    mails: list[Message] = field(default_factory=list)
    received: list[float] = field(default_factory=list)  # when, s
    refused: frozenset[bytes] = frozenset()  # addresses to which it takes no mail
    tried: int = 0

    def refuses(self) -> bool:
        self.tried += 1
        self.fails -= 1
        return self.fails >= 0


@contextlib.contextmanager
def http() -> Iterator[Sink]:
    """A receiver of webhooks."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            refused = sink.refuses()
            if not refused:
                sink.posts.append((dict(self.headers), body))
                sink.received.append(time.time())
            self.send_response(503 if refused else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink.port = server.server_address[1]
    with _serving(server):
        yield sink


@contextlib.contextmanager
def smtp() -> Iterator[Sink]:
    """A mail server that takes everything (RFC 5321, without TLS and sign-in)."""
    sink = Sink()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 sink")
            while line := self.rfile.readline():
                word = line.strip().upper().partition(b" ")[0]
                if word == b"QUIT":
                    self.say("221 bye")
                    return
                if word == b"RCPT" and any(address in line for address in sink.refused):
                    self.say("550 nobody of that name")
                    continue
                if word == b"DATA":
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline()).rstrip(b"\r\n") != b".":
                        lines.append(part.removeprefix(b".") if part.startswith(b"..") else part)
                    if sink.refuses():
                        self.say("451 not now")
                        continue
                    sink.mails.append(message_from_bytes(b"".join(lines), policy=default))
                    sink.received.append(time.time())
                self.say("250 ok")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    sink.port = server.server_address[1]
    with _serving(server):
        yield sink


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
