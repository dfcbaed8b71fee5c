"""Fetches what came back from a mailbox: a Maildir on this machine, or POP3 over TLS.

It only hands mails out and puts away those that are done; it never reads what they mean. What was not put
away comes again, so a process that is killed loses nothing. Called by ``api.jobs.mailroom``.
"""

from __future__ import annotations

import contextlib
import os
import poplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from delivery.bounce_reports import MOST_BYTES
from feeds.kernel.errors import FetchError, UsageError

_TIMEOUT = 30.0
_HEAD_LINES = 2000


@dataclass(frozen=True, slots=True)
class Returned:
    """One mail of the mailbox; ``name`` is how it is put away."""

    name: str
    raw: bytes


class Mailbox(Protocol):
    """Where returned mails wait."""

    def fetch(self, limit: int) -> Iterator[Returned]:
        """Hand out at most ``limit`` mails that were not put away, oldest first."""

    def done(self, name: str) -> None:
        """Put one away for good."""

    def leave(self, name: str) -> None:
        """Keep one that was not understood, where a person can look at it, and hand it out no more."""

    def close(self) -> None:
        """End; what was put away is gone from now on."""


def open_mailbox(url: str) -> Mailbox:
    """Open ``maildir:///path``, ``pop3s://user:password@host`` or ``pop3://…`` (STLS, unless here).

    Raises:
        UsageError: If it is none of them. The message never repeats the password.
    """
    parts = urlsplit(url)
    if parts.scheme == "maildir" and parts.path:
        return MaildirBox(Path(unquote(parts.path)))
    if parts.scheme in ("pop3", "pop3s") and parts.hostname and parts.username:
        return Pop3Box(
            parts.hostname,
            parts.port or (995 if parts.scheme == "pop3s" else 110),
            unquote(parts.username),
            unquote(parts.password or ""),
            tls=parts.scheme == "pop3s",
        )
    raise UsageError("MYCITY_BOUNCE_URL: write maildir:///var/mail/bounces or pop3s://user:password@host .")


class MaildirBox:
    """A Maildir; mails that are done are deleted, others moved from ``new`` to ``cur``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "new").is_dir():
            raise UsageError(
                f"There is no Maildir at {folder}; make {folder}/new, cur and tmp, or name the right one."
            )

    def fetch(self, limit: int) -> Iterator[Returned]:
        """Hand out what is in ``new``, oldest name first."""
        for name in sorted(os.listdir(self._folder / "new"))[:limit]:
            # What is no file, or not ours to read, must not stop those behind it.
            gone = contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError)
            with gone, (self._folder / "new" / name).open("rb") as file:
                yield Returned(name, file.read(MOST_BYTES))

    def done(self, name: str) -> None:
        """Delete it; doing so twice is fine."""
        (self._folder / "new" / name).unlink(missing_ok=True)

    def leave(self, name: str) -> None:
        """Move it to ``cur``."""
        (self._folder / "cur").mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "new" / name).rename(self._folder / "cur" / f"{name.partition(':')[0]}:2,")

    def close(self) -> None:
        """Nothing is open."""


class Pop3Box:
    """A POP3 mailbox. It has no folders: what was not understood is handed out once by each process."""

    _left: dict[tuple[str, str], set[str]] = {}  # noqa: RUF012 - shared on purpose, by (host, user)

    def __init__(self, host: str, port: int, user: str, password: str, *, tls: bool) -> None:
        self._known = self._left.setdefault((f"{host}:{port}", user), set())
        try:
            self._box = self._open(host, port, tls=tls)
        except (poplib.error_proto, OSError) as error:
            raise _unreadable(host, error) from error
        try:
            self._box.user(user)
            self._box.pass_(password)
            listed = self._box.uidl()[1]
        except (poplib.error_proto, OSError) as error:
            self._box.close()
            raise _unreadable(host, error) from error
        pairs = [line.decode("ascii", "replace").split(" ", 1) for line in listed]
        self._numbers = {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2}
        self._known.intersection_update(self._numbers)

    @staticmethod
    def _open(host: str, port: int, *, tls: bool) -> poplib.POP3:
        context = ssl.create_default_context()
        if tls:
            return poplib.POP3_SSL(host, port, timeout=_TIMEOUT, context=context)
        box = poplib.POP3(host, port, timeout=_TIMEOUT)
        if host not in ("127.0.0.1", "::1", "localhost"):
            box.stls(context)
        return box

    def fetch(self, limit: int) -> Iterator[Returned]:
        """Hand out mails by their number on the server."""
        waiting = [name for name in self._numbers if name not in self._known][:limit]
        for name in waiting:
            try:
                # Only the beginning: a report comes first, the mail it quotes may be long.
                lines = self._box.top(self._numbers[name], _HEAD_LINES)[1]
            except (poplib.error_proto, OSError) as error:
                raise FetchError(f"The bounce mailbox broke off ({type(error).__name__}).") from error
            yield Returned(name, b"\r\n".join(lines)[:MOST_BYTES])

    def done(self, name: str) -> None:
        """Mark it for deletion; the server deletes at the end."""
        with contextlib.suppress(poplib.error_proto, OSError):
            self._box.dele(self._numbers[name])

    def leave(self, name: str) -> None:
        """Leave it on the server."""
        self._known.add(name)

    def close(self) -> None:
        """Say goodbye, which makes deletions real."""
        with contextlib.suppress(poplib.error_proto, OSError):
            self._box.quit()


def _unreadable(host: str, error: Exception) -> FetchError:
    """Says nothing of what the server said: servers like to repeat names."""
    return FetchError(
        f"The bounce mailbox at {host} cannot be read ({type(error).__name__}); is the login right?"
    )
