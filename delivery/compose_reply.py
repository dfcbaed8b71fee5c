"""Writes the short messages that answer people: sign-up, stop, help, codes, questions. Pure.

The words are approved templates (``compose_sms.TEMPLATES``); a parameter holds no address of the web and
never a sensitive role or theme, because nobody passes one. Called by ``api.jobs.reply_building``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from delivery.compose_sms import TEMPLATES, compose_named
from delivery.errors import PermanentError
from delivery.sms_text import clean, clip
from delivery.types import SmsMessage
from delivery.wording import is_chinese

_URL = re.compile(r"(?:https?://|www\.)\S*|\S+\.(?:com|cn|net|org|top|xyz)\S*", re.IGNORECASE)
_PARAM_MOST = 24  # characters of one parameter; a longer one comes from nobody but the curious


def compose_reply(
    template: str,
    params: Mapping[str, str],
    *,
    lang: str,
    signature: str,
    link: str,
    sample: bool,
    to: str,
    out_id: str,
) -> SmsMessage:
    """Write one answer.

    Args:
        template: Name without language, e.g. ``welcome``.
        params: What the template needs; more is ignored.
        lang: Chinese for any ``zh…``, else English.
        signature: The registered signature without brackets.
        link: The one registered link; it stands last, and only where it costs no segment.
        sample: True for the sample city.
        to: E.164.
        out_id: Our own reference.

    Raises:
        PermanentError: If there is no such template, or a parameter is missing.
    """
    name = f"{template}-{'zh' if is_chinese(lang) else 'en'}"
    if name not in TEMPLATES:
        raise PermanentError(f"There is no answer called {name}; nothing was written.")
    wanted = {key: _short(params[key]) for key in _fields(TEMPLATES[name]) if key in params}
    return compose_named(name, wanted, signature=signature, to=to, out_id=out_id, link=link, sample=sample)


def _fields(template: str) -> list[str]:
    return [name for name in re.findall(r"{(\w+)}", template) if name != "link"]


def _short(value: str) -> str:
    return clip(clean(_URL.sub("", value)), _PARAM_MOST)
