"""Connects to checked addresses only, and lets no wait outlast one deadline; the client's way to the network.

A name is resolved once, every address of it is checked, and the connection goes to a checked one, so
a name that changes its mind in between (DNS rebinding) gains nothing. Called by ``feeds.kernel.http``.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_address
from threading import Lock
from time import monotonic
from typing import Any

import httpcore2

from feeds.kernel.addresses import is_public_address
from feeds.kernel.answers import Tls
from feeds.kernel.askers import Askers
from feeds.kernel.errors import BlockedAddressError

Resolver = Callable[[str, int], Sequence[str]]

_askers = Askers()  # one for the process
_tls_lock = Lock()
_tls_contexts: list[ssl.SSLContext] = []

# What OpenSSL's numbers mean to an operator (x509_vfy.h); other numbers are shown in its own words.
_CERTIFICATE_FAULTS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself only",
    19: "it is signed by an authority that nobody vouches for",
    20: "its authority is unknown here, or the server leaves out a certificate in between",
    62: "it stands for another name",
    64: "it stands for another address",
}


def resolve_host(host: str, port: int) -> list[str]:
    """Ask the system for every address of a name, in its order of preference, each once.

    Raises:
        OSError: If the name has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is not a host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def shared_tls() -> ssl.SSLContext:
    """Give the one TLS context of this process, which trusts what the machine trusts.

    Reading the machine's certificates takes about 20 ms, so nobody does it twice; and a context
    that is shared by threads must not be changed any more, so nobody does that either.
    """
    with _tls_lock:
        if not _tls_contexts:
            context = httpcore2.default_ssl_context()
            context.set_alpn_protocols(["http/1.1"])
            _tls_contexts.append(context)
        return _tls_contexts[0]


class Dialler:
    """Connects to an address that it has checked itself, and to no other, before a deadline. Serves once.

    Args:
        resolve: Name → addresses.
        private: Whether any address will do; else public ones only.
        advice: The end of the sentence that refuses an address: what to do about it.
        deadline: Of ``monotonic()``.
        limit: Most seconds for the name, and for each attempt at an address.

    Attributes:
        address: The address dialled last; ``""`` before.
    """

    def __init__(
        self, resolve: Resolver, *, private: bool, advice: str, deadline: float, limit: float
    ) -> None:
        self._resolve, self._private, self._advice = resolve, private, advice
        self._deadline, self._limit = deadline, limit
        self.address = ""

    def dial(self, host: str, port: int, tls: ssl.SSLContext | None) -> Stream:
        """Resolve, check, connect to the first address that answers, and encrypt where asked to.

        Raises:
            BlockedAddressError: If any address of the name is not public although it has to be.
            httpcore2.ConnectError: With what is wrong and what to do, in half a sentence.
            httpcore2.TimeoutException: With a text only where it is the name that took too long.
        """
        addresses = self._addresses(host, port)
        if not addresses:
            raise httpcore2.ConnectError(f"the name {host} has no address")
        for number, self.address in enumerate(addresses, start=1):
            try:
                plain = self._connect(self.address, port)
                break
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
        return Stream(plain if tls is None else self._encrypt(plain, host, tls), self._deadline)

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        addresses = [host] if _is_literal(host) else self._ask(host, port)
        # All of them: a name that also points inwards is an attack or a mistake, never a feed.
        bad = [] if self._private else [item for item in addresses if not is_public_address(item)]
        if bad:
            what = "is" if bad[0] == host else f"leads to {bad[0]}, which is"
            raise BlockedAddressError(f"{host} {what} not public; {self._advice}.")
        return addresses

    def _ask(self, host: str, port: int) -> Sequence[str]:
        wait = remaining(self._deadline, self._limit)
        try:
            return _askers.ask(lambda: self._resolve(host, port), wait)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except OSError as error:
            why = error.strerror or error
            raise httpcore2.ConnectError(f"the name {host} is not known ({why}); check it") from error

    def _connect(self, address: str, port: int) -> socket.socket:
        plain = None
        try:
            plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            plain.settimeout(remaining(self._deadline, self._limit))
            plain.connect((address, port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain
        except BaseException as error:
            if plain:
                plain.close()
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout() from error
            if isinstance(error, ConnectionRefusedError):
                text = f"nobody listens on {address} port {port}; check the port and whether the server runs"
                raise httpcore2.ConnectError(text) from error
            if isinstance(error, OSError | OverflowError):  # the latter: a port above 65535
                why = getattr(error, "strerror", "") or error
                raise httpcore2.ConnectError(f"no way to {address} port {port}: {why}") from error
            raise

    def _encrypt(self, plain: socket.socket, host: str, tls: ssl.SSLContext) -> socket.socket:
        try:
            plain.settimeout(remaining(self._deadline, self._limit))
            return tls.wrap_socket(plain, server_hostname=host.rstrip("."))
        except BaseException as error:
            plain.close()
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout() from error
            if isinstance(error, OSError | ValueError):
                raise httpcore2.ConnectError(_tls_fault(error)) from error
            raise


def _is_literal(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _tls_fault(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        what = _CERTIFICATE_FAULTS.get(error.verify_code, error.verify_message)
        return f"its certificate is not accepted: {what}; its owner has to put that right"
    why = error.reason if isinstance(error, ssl.SSLError) and error.reason else error
    text = str(why).replace("_", " ").lower()
    return f"TLS does not come about ({text}); check whether the address should begin with http"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
    except (ValueError, OverflowError):
        return None


class Stream(httpcore2.NetworkStream):
    """A connection on which no single wait outlasts ``deadline`` (of ``monotonic()``)."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket, self.deadline = sock, deadline

    @cached_property
    def tls(self) -> Tls | None:
        """What protects this connection; ``None`` if nothing does."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return None
        certificate: dict[str, Any] = dict(self._socket.getpeercert() or {})
        subject = {name: text for part in certificate.get("subject", ()) for name, text in part}
        names = [text for _, text in certificate.get("subjectAltName", ())]
        return Tls(
            version=self._socket.version() or "",
            name=(names or [subject.get("commonName", "")])[0],
            valid_until=_moment(certificate.get("notAfter", "")),
        )

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive what there is; ``b""`` at the end."""
        try:
            self._socket.settimeout(remaining(self.deadline, timeout))
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout() from error
        except OSError as error:
            raise httpcore2.ReadError(error.strerror or str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send everything."""
        if not buffer:
            return
        try:
            self._socket.settimeout(remaining(self.deadline, timeout))
            self._socket.sendall(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout() from error
        except OSError as error:
            raise httpcore2.WriteError(error.strerror or str(error)) from error

    def close(self) -> None:
        """Hang up; may be called again."""
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        """Tell nothing; the library asks only about connections that are kept."""
        return None


def remaining(deadline: float, limit: float | None = None) -> float:
    """Seconds one step may still take: until ``deadline`` (of ``monotonic()``), at most ``limit``.

    Raises:
        httpcore2.ReadTimeout: If the deadline has passed.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout()
    return left if limit is None else min(left, limit)
