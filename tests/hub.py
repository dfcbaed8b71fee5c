"""A small real WebSub hub on 127.0.0.1: verifies by GET, keeps leases, signs what it distributes.

It keeps to the W3C Recommendation, the hub's side, until a test tells it to misbehave.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlencode, urlsplit


@dataclass(frozen=True)
class Lease:
    """One subscriber of one topic."""

    secret: str
    seconds: int


@dataclass(frozen=True)
class Reply:
    """What a subscriber answered."""

    status: int
    body: str
    content_type: str


@dataclass
class Hub:
    """What the hub holds, and how it behaves.

    Attributes:
        verifies: ``first`` (before it answers the request), ``later`` (after, in a thread), ``never``.
        answers: Status of its answer to a good request.
        delay: Seconds before that answer.
        lease: Seconds that it grants, as it would write them; ``None``: what was asked for.
        denies: Reason for denying every subscription, or ``None``.
        topic: What it names as topic when it verifies; ``None``: what was asked for.
        signs: Method of its signature; ``wrong`` signs with another secret, empty does not sign.
    """

    port: int = 0
    verifies: Literal["first", "later", "never"] = "first"
    answers: int = 202
    delay: float = 0.0
    lease: str | None = None
    denies: str | None = None
    topic: str | None = None
    signs: str = "sha256"
    asked: list[dict[str, str]] = field(default_factory=list)
    leases: dict[tuple[str, str], Lease] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)
    working: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Let what was begun ``later`` end."""
        for thread in self.working:
            thread.join(10)

    def handle(self, form: dict[str, str]) -> int:
        """Take a request, verify its intent, and tell which status answers it."""
        self.asked.append(form)
        time.sleep(self.delay)
        if self.verifies == "first":
            self.settle(form)
        elif self.verifies == "later":
            # Not before our answer is out, which is what makes it late.
            self.working.append(threading.Thread(target=lambda: (time.sleep(0.05), self.settle(form))))
            self.working[-1].start()
        return self.answers

    def settle(self, form: dict[str, str]) -> Reply:
        """Deny, or verify and keep what the subscriber confirmed."""
        mode, topic, callback = form["hub.mode"], form["hub.topic"], form["hub.callback"]
        if self.denies is not None and mode == "subscribe":
            query = {"hub.mode": "denied", "hub.topic": topic, "hub.reason": self.denies}
            return self.ask(callback, query)
        seconds = self.lease if self.lease is not None else form.get("hub.lease_seconds", "864000")
        query = {
            "hub.mode": mode,
            "hub.topic": self.topic or topic,
            "hub.challenge": hashlib.sha256(str(len(self.replies)).encode()).hexdigest(),
        }
        if mode == "subscribe" and seconds:
            query["hub.lease_seconds"] = seconds
        reply = self.ask(callback, query)
        if 200 <= reply.status < 300 and reply.body == query["hub.challenge"]:
            if mode == "subscribe":
                self.leases[topic, callback] = Lease(form.get("hub.secret", ""), int(seconds or 0))
            else:
                self.leases.pop((topic, callback), None)
        return reply

    def ask(self, callback: str, query: dict[str, str]) -> Reply:
        """Call a subscriber back."""
        reply = _call("GET", f"{callback}?{urlencode(query)}")
        self.replies.append(reply)
        return reply

    def publish(
        self, topic: str, body: bytes, *, kind: str = "application/atom+xml", about: str | None = None
    ) -> list[int]:
        """Send content to every subscriber of a topic; one that answers 410 is dropped.

        Args:
            topic: Whose subscribers.
            body: What is sent.
            kind: Its Content-Type.
            about: The topic that the Link header names; default: the topic.
        """
        statuses = []
        for (name, callback), lease in list(self.leases.items()):
            if name != topic:
                continue
            headers = {
                "Content-Type": kind,
                "Link": f'<{self.url}>; rel="hub", <{about or topic}>; rel="self"',
                **self._signature(lease.secret, body),
            }
            statuses.append(_call("POST", callback, body, headers).status)
            if statuses[-1] == 410:
                del self.leases[name, callback]
        return statuses

    def _signature(self, secret: str, body: bytes) -> dict[str, str]:
        if not self.signs or not secret:
            return {}
        wrong = self.signs == "wrong"
        method = "sha256" if wrong else self.signs
        key = "somebody else's" if wrong else secret
        return {"X-Hub-Signature": f"{method}={hmac.new(key.encode(), body, method).hexdigest()}"}


@contextmanager
def hub() -> Iterator[Hub]:
    """Run a hub."""
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            status = made.handle({name: values[0] for name, values in parse_qs(text).items()})
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.wait()
        server.shutdown()
        server.server_close()
        thread.join()


def _call(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        return Reply(answer.status, answer.read().decode(), answer.headers.get("Content-Type", ""))
    finally:
        connection.close()
