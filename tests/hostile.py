"""A web server on 127.0.0.1 that behaves as badly as servers do; each path is one kind of misbehaviour.

Raw sockets, so that it can say what no library would. Every misbehaviour ends when the client hangs
up or the server is closed.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import brotli
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Behaviour = Callable[[socket.socket, "Hostile"], None]
FEED = '<?xml version="1.0"?><rss version="2.0"><channel><title>示例</title></channel></rss>'.encode()
LATER = "Retry-After: Mon, 12 Oct 2026 09:00:00 GMT"
BOMB = 50_000_000  # bytes; a bomb's size unpacked


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def says(*parts: bytes) -> Behaviour:
    return lambda conn, _server: conn.sendall(b"".join(parts))


def whole(status: str, body: bytes, *lines: str) -> Behaviour:
    return says(head(status, f"Content-Length: {len(body)}", *lines), body)


def drips(begin: bytes, piece: bytes, gap: float = 0.05) -> Behaviour:
    """Each piece comes in time; all of them together never do."""

    def drip(conn: socket.socket, server: Hostile) -> None:
        conn.sendall(begin)
        while not server.closing.wait(gap):
            conn.sendall(piece)

    return drip


def floods(begin: bytes, piece: bytes) -> Behaviour:
    def flood(conn: socket.socket, server: Hostile) -> None:
        conn.sendall(begin)
        while not server.closing.is_set():
            conn.sendall(piece)

    return flood


def resets(begin: bytes) -> Behaviour:
    def reset(conn: socket.socket, _server: Hostile) -> None:
        conn.sendall(begin)
        time.sleep(0.05)  # the client reads what was said before
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()

    return reset


def silence(_conn: socket.socket, server: Hostile) -> None:
    server.closing.wait(10)


def stalls(begin: bytes) -> Behaviour:
    def stall(conn: socket.socket, server: Hostile) -> None:
        conn.sendall(begin)
        silence(conn, server)

    return stall


def redirects(status: int, target: str) -> Behaviour:
    def redirect(conn: socket.socket, server: Hostile) -> None:
        there = target.replace("{here}", server.place)
        conn.sendall(head(f"{status} Elsewhere", f"Location: {there}", "Content-Length: 0"))

    return redirect


@cache
def _bomb_gzip() -> bytes:
    return gzip.compress(bytes(BOMB))


@cache
def _bomb_brotli() -> bytes:
    return brotli.compress(bytes(BOMB), quality=5)


BEHAVIOURS: dict[str, Behaviour] = {
    "/feed": whole("200 OK", FEED, 'ETag: "1"', "Content-Type: application/rss+xml"),
    "/br": whole("200 OK", brotli.compress(FEED), "Content-Encoding: br"),
    "/empty": whole("200 OK", b""),
    "/no-content": says(head("204 No Content")),
    "/unasked-304": says(head("304 Not Modified")),
    "/html": whole("200 OK", b"<!DOCTYPE html><h1>502 Bad Gateway</h1>", "Content-Type: text/html"),
    # Time.
    "/silence": silence,
    "/slow-header": drips(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "/slow-body": drips(head("200 OK", "Content-Length: 100000"), b"x"),
    "/slow-chunks": drips(head("200 OK", "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
    "/continue-for-ever": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "/stalls": stalls(head("200 OK", "Content-Length: 100") + b"x"),
    # Size.
    "/endless": floods(head("200 OK"), bytes(8192)),
    "/endless-chunks": floods(
        head("200 OK", "Transfer-Encoding: chunked"), b"2000\r\n" + bytes(8192) + b"\r\n"
    ),
    "/announces-much": says(head("200 OK", "Content-Length: 99999999999")),
    "/gzip-bomb": lambda conn, server: whole("200 OK", _bomb_gzip(), "Content-Encoding: gzip")(conn, server),
    "/br-bomb": lambda conn, server: whole("200 OK", _bomb_brotli(), "Content-Encoding: br")(conn, server),
    "/huge-headers": floods(b"HTTP/1.1 200 OK\r\n", b"X-Pad: " + b"x" * 1000 + b"\r\n"),
    "/huge-header": floods(b"HTTP/1.1 200 OK\r\nX-Pad: ", b"x" * 8192),
    # Protocol.
    "/short": says(head("200 OK", "Content-Length: 1000"), b"abc"),
    "/long": says(head("200 OK", "Content-Length: 3"), b"abcdef"),
    "/two-lengths": says(head("200 OK", "Content-Length: 3", "Content-Length: 6"), b"abcdef"),
    "/negative-length": says(head("200 OK", "Content-Length: -1"), b"abc"),
    "/hangs-up": says(b""),
    "/half-header": says(b"HTTP/1.1 200 OK\r\nContent-"),
    "/reset": resets(head("200 OK", "Content-Length: 1000") + b"abc"),
    "/reset-at-once": resets(b""),
    "/garbage-status": says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "/binary": says(bytes(range(256)) * 8),
    "/garbage-chunks": says(head("200 OK", "Transfer-Encoding: chunked"), b"zz\r\nno chunk\r\n"),
    "/cut-chunks": says(head("200 OK", "Transfer-Encoding: chunked"), b"5\r\nhello\r\n"),
    "/not-gzip": whole("200 OK", FEED, "Content-Encoding: gzip"),
    "/not-br": whole("200 OK", b"\xff" * 50, "Content-Encoding: br"),
    "/cut-br": whole("200 OK", brotli.compress(FEED)[:-9], "Content-Encoding: br"),
    "/stacked": whole("200 OK", brotli.compress(gzip.compress(FEED)), "Content-Encoding: gzip, br"),
    "/stacked-lines": whole(
        "200 OK", gzip.compress(gzip.compress(FEED)), "Content-Encoding: gzip", "Content-Encoding: gzip"
    ),
    "/unknown-packing": whole("200 OK", FEED, "Content-Encoding: zstd"),
    "/switch": says(head("101 Switching Protocols", "Upgrade: rubbish", "Connection: upgrade")),
    # Redirects.
    "/loop": redirects(302, "/loop"),
    "/moved-1": redirects(301, "/moved-2"),
    "/moved-2": redirects(308, "/feed"),
    "/keeps-308": redirects(308, "/echo"),
    "/keeps-307": redirects(307, "/echo"),
    "/drops-303": redirects(303, "/echo"),
    "/nowhere": redirects(302, "http://[::1/"),
    "/to-loopback": redirects(302, "http://127.0.0.1:9/"),
    # Statuses.
    "/gone": whole("410 Gone", b"gone"),
    "/too-often": whole("429 Too Many Requests", b"", "Retry-After: 120"),
    "/later": whole("503 Service Unavailable", b"<h1>later</h1>", LATER),
    "/drips-404": drips(head("404 Not Found", "Content-Length: 100000"), b"x"),
}  # fmt: skip


def _echo(conn: socket.socket, server: Hostile) -> None:
    whole("202 Accepted", server.bodies[-1], f"X-Method: {server.asked[-1].split()[0]}")(conn, server)


BEHAVIOURS["/echo"] = _echo


@dataclass
class Hostile:
    """A running server.

    Attributes:
        asked: The first line of every request.
        bodies: The body of every request.
    """

    listener: socket.socket
    tls: ssl.SSLContext | None = None
    rubbish: bytes | None = None
    routes: dict[str, Behaviour] = field(default_factory=lambda: dict(BEHAVIOURS))
    asked: list[str] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"{'https' if self.tls or self.rubbish is not None else 'http'}://{self.place}{path}"

    def run(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(conn,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def serve(self, conn: socket.socket) -> None:
        with suppress(OSError), conn:
            conn.settimeout(5)
            if self.rubbish is not None:
                conn.recv(100)
                conn.sendall(self.rubbish)
                silence(conn, self) if not self.rubbish else None
                return
            if self.tls:
                with self.tls.wrap_socket(conn, server_side=True) as secure:
                    self.answer(secure)
            else:
                self.answer(conn)

    def answer(self, conn: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            if not more:
                return
            data += more
        top, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(x[15:]) for x in top.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += conn.recv(65536)
        line = top.split(b"\r\n")[0].decode()
        self.asked.append(line)
        self.headers.append(top)
        self.bodies.append(body)
        self.routes[line.split()[1].partition("?")[0]](conn, self)
        with suppress(OSError):  # a client that left early is no error, and what it has not read is not lost
            conn.shutdown(socket.SHUT_WR)
            conn.settimeout(0.2)
            conn.recv(1)


@contextmanager
def hostile(*, tls: ssl.SSLContext | None = None, rubbish: bytes | None = None) -> Iterator[Hostile]:
    """Run a server; with ``rubbish`` it says that instead of a TLS handshake (empty: nothing at all)."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = Hostile(listener, tls=tls, rubbish=rubbish)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for each in server.threads:
                each.join(5)


class Authority:
    """An invented certificate authority 示例 and the certificates it gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "示例 CA")])
        self.certificate = self._sign(self.name, self.key, days=30, authority=True)
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts this authority only."""
        return ssl.create_default_context(cafile=str(self.path))

    def server(
        self, host: str = "127.0.0.1", *, days: float = 30, self_signed: bool = False
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key, days=days, host=host, self_signed=self_signed)
        path = self.folder / f"{certificate.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        days: float,
        host: str = "",
        authority: bool = False,
        self_signed: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        alone = authority or self_signed
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name if alone else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            try:
                alternative: x509.GeneralName = x509.IPAddress(ip_address(host))
            except ValueError:
                alternative = x509.DNSName(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(key if alone else self.key, hashes.SHA256())
