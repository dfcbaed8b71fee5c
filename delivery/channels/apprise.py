"""A resident's own chat tool, by the optional library Apprise. The only module that imports it.

Only services with a fixed address are let through: an address that somebody gave must never make this
machine call another one of its choice. Apprise tells success or failure and nothing more, and waits five
seconds between two notes of one address, so this is no channel for many. It never reads the database.
"""

from __future__ import annotations

import importlib
from typing import Any

from delivery.errors import PermanentError, RetryableError
from delivery.types import Accepted, Message, PushMessage
from feeds.kernel.errors import UsageError

#: Services whose host is fixed by the library: DingTalk, Feishu/Lark, WeCom, WxPusher, PushPlus, ServerChan,
#: Telegram, Pushover, Discord, Slack.
SCHEMES = (
    "dingtalk", "feishu", "lark", "wecombot", "wxpusher", "pushplus", "schan", "tgram", "pover", "discord",
    "slack",
)  # fmt: skip


def check(url: str) -> str:
    """Return an address of a chat tool that may be used.

    Raises:
        UsageError: If the service is not one of :data:`SCHEMES`.
    """
    scheme, mark, rest = url.strip().removeprefix("apprise:").partition("://")
    if not mark or scheme.lower() not in SCHEMES or not rest or len(url) > 500 or "@" in rest.split("?")[0]:
        raise UsageError(
            f"Give the address of your chat tool as Apprise writes it; possible are {', '.join(SCHEMES)}."
        )
    return f"{scheme.lower()}://{rest}"


class AppriseChannel:
    """Sends notes to chat tools.

    Args:
        library: The module ``apprise``; default: imported when first needed.
    """

    name = "apprise"

    def __init__(self, library: Any = None) -> None:
        self._library = library

    def send(self, message: Message) -> Accepted:
        """Send one note.

        Raises:
            PermanentError: If it is no note, the address is none that may be used, or Apprise is missing.
            RetryableError: If the tool did not take it; Apprise does not say why.
        """
        if not isinstance(message, PushMessage):
            raise PermanentError("The chat channel was given a message that is no note.")
        try:
            url = check(message.to)
        except UsageError as error:
            raise PermanentError(str(error)) from error
        tool = self._loaded().Apprise()
        if not tool.add(url):
            raise PermanentError("The address of the chat tool cannot be read; it has to be given anew.")
        if not tool.notify(title=message.title, body=f"{message.text}\n{message.url}".strip()):
            raise RetryableError("The chat tool did not take the note.")
        return Accepted(self.name, message.out_id)

    def close(self) -> None:
        """Nothing is held open."""

    def _loaded(self) -> Any:
        if self._library is None:
            try:
                self._library = importlib.import_module("apprise")
            except ModuleNotFoundError as error:
                raise PermanentError("Notes to chat tools need mycity[apprise].") from error
        return self._library
