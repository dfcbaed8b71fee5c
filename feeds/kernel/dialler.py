"""Connects to checked addresses only, and lets no wait outlast one deadline; the client's way to the network.

A name is resolved once, every address of it is checked, and the connection goes to a checked one, so
a name that changes its mind in between (DNS rebinding) gains nothing. Called by ``feeds.kernel.http``.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

import httpcore2

from feeds.kernel.addresses import is_public_address
from feeds.kernel.errors import BlockedAddressError

Resolver = Callable[[str, int], Sequence[str]]


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


class Dialler(httpcore2.SyncBackend):
    """Connects to an address that it has checked itself, and to no other, before a deadline."""

    def __init__(self, resolve: Resolver, *, private: bool, deadline: float) -> None:
        self._resolve, self._private, self._deadline = resolve, private, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve, check, and connect to the first address that answers."""
        addresses = self._addresses(host, port)
        for number, address in enumerate(addresses, start=1):
            try:
                wait = remaining(self._deadline, timeout)
                stream = super().connect_tcp(address, port, wait, local_address, socket_options)
                return _Stream(stream, self._deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore2.ConnectError(f"the name {host} has no address")

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        addresses = self._resolve_in_time(host, port)
        # All of them: a name that also points inwards is an attack or a mistake, never a feed.
        bad = [] if self._private else [item for item in addresses if not is_public_address(item)]
        if bad:
            raise BlockedAddressError(
                f"{host} leads to {bad[0]}, which is not public; allow an intranet source by name."
            )
        return addresses

    def _resolve_in_time(self, host: str, port: int) -> Sequence[str]:
        """Resolve in a thread of its own: the system's resolver knows no deadline."""
        found: list[Sequence[str]] = []
        failed: list[OSError] = []

        def ask() -> None:
            try:
                found.append(self._resolve(host, port))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=ask, daemon=True, name="resolve")
        thread.start()
        thread.join(remaining(self._deadline))
        if failed:
            raise httpcore2.ConnectError(f"the name {host} is not known ({failed[0].strerror or failed[0]})")
        if not found:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time")
        return found[0]


class _Stream(httpcore2.NetworkStream):
    """A connection on which no single wait outlasts the total deadline."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: float) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, remaining(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, remaining(self._deadline, timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        wait = remaining(self._deadline, timeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, wait), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def remaining(deadline: float, limit: float | None = None) -> float:
    """Seconds one step may still take: until ``deadline`` (of ``monotonic()``), at most ``limit``.

    Raises:
        httpcore2.ReadTimeout: If the deadline has passed.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the total time is used up")
    return left if limit is None else min(left, limit)
