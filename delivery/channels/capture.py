"""The channel that sends nothing: it writes what would be sent into a folder.

The default of every installation, and the only channel of the demo. Files are readable by their
owner only, appear whole or not at all, are named after the message's own reference (so sending
twice leaves one file) and expire. It never opens a socket or the database.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

from delivery.errors import RetryableError
from delivery.mime import to_bytes
from delivery.types import Accepted, MailMessage, Message, SmsMessage, WebhookMessage

_UNSAFE = re.compile(r"[^A-Za-z0-9._@-]+")
#: Kind of message → folder and ending; people read mails and texts, programs read the rest.
_KINDS = {
    "MailMessage": ("email", ".eml"), "SmsMessage": ("sms", ".txt"), "PushMessage": ("push", ".json"),
    "WechatMessage": ("wechat", ".json"), "WebhookMessage": ("webhook", ".json"),
}  # fmt: skip


class CaptureChannel:
    """Writes ``<folder>/email/*.eml``, ``<folder>/sms/*.txt`` and so on; takes every kind of message.

    Args:
        folder: Made with mode 0700 when first needed.
    """

    name = "capture"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self, message: Message) -> Accepted:
        """Write one message.

        Raises:
            PermanentError: If no such mail could be built for a real channel either.
            RetryableError: If the folder cannot be written to.
        """
        folder, ending = _KINDS[type(message).__name__]
        if isinstance(message, MailMessage):
            return self._write(self._path(message.message_id.strip("<>"), folder, ending), to_bytes(message))
        data = _sms_bytes(message) if isinstance(message, SmsMessage) else _json_bytes(message)
        return self._write(self._path(message.out_id, folder, ending), data)

    def close(self) -> None:
        """Nothing is held open."""

    def expire(self, older_than: timedelta, now: datetime) -> int:
        """Delete captured messages written before ``now - older_than``.

        Args:
            older_than: How long they are kept.
            now: The machine's time, which stamped the files; not the demo's own days.

        Returns:
            How many files were deleted; temporary ones of a killed writer are among them.
        """
        limit = (now - older_than).timestamp()
        gone = 0
        for folder in sorted(folder for folder, _ in _KINDS.values()):
            for path in sorted((self.folder / folder).glob("*")):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < limit:
                        path.unlink()
                        gone += 1
        return gone

    def _path(self, reference: str, folder: str, ending: str) -> Path:
        safe = _UNSAFE.sub("-", reference).strip(".-")[:100]
        if safe != reference:
            safe = f"{safe}-{blake2b(reference.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"
        return self.folder / folder / f"{safe}{ending}"

    def _write(self, path: Path, data: bytes) -> Accepted:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(self.folder, 0o700)
            os.chmod(path.parent, 0o700)
            _replace(path, data)
        except OSError as error:
            raise RetryableError(
                f"The captured message cannot be written ({error.strerror or error}); "
                f"check the room and the rights of {path.parent}."
            ) from error
        return Accepted(self.name, str(path))


def _replace(path: Path, data: bytes) -> None:
    """Write beside the target (mkstemp gives mode 0600) and rename, which is atomic."""
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _json_bytes(message: Any) -> bytes:
    if isinstance(message, WebhookMessage):
        return message.body + b"\n"  # what would be sent; its secrets stay where they are
    return json.dumps(asdict(message), ensure_ascii=False, indent=2, default=str).encode("utf-8", "replace")


def _sms_bytes(message: SmsMessage) -> bytes:
    head = [
        f"To: {message.to}",
        f"Template: {message.template_id}",
        *(f"Param-{name}: {value}" for name, value in message.params.items()),
        f"Segments: {message.segments}",
        f"Reference: {message.out_id}",
    ]
    return ("\n".join(head) + f"\n\n{message.text}\n").encode("utf-8", "replace")
