"""What somebody means who sends us a text message: one word, and what stands beside it. Pure.

Stop is understood most generously and sign-up most narrowly: a slip must never subscribe anybody. A
text that a machine wrote is recognised and never answered. Called by ``api.jobs.inbound``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from feeds.catalogue.words import fold

Word = Literal["start", "stop", "yes", "not_me", "help", "robot", "other"]
_MOST = 200  # characters that are looked at
_REST_MOST, _REST_SIZE = 4, 20

_STOP = frozenset(
    ("td", "t", "r", "退订", "退", "取消", "取消订阅", "停止", "停", "停订", "拒收", "拒绝",
     "不要", "不要了", "不订了", "stop", "stopall", "unsubscribe", "unsub",
     "cancel", "end", "quit", "revoke", "optout")
)  # fmt: skip
_START = frozenset(
    ("dy", "订阅", "定阅", "订", "开通", "恢复", "subscribe", "start", "join", "unstop")
)  # fmt: skip
_YES = frozenset(
    ("y", "yes", "ok", "是", "是的", "好", "好的", "同意", "确认", "可以", "愿意", "对", "1")
)  # fmt: skip
_NOT_ME = frozenset(
    ("不是我", "不是本人", "非本人", "我不是", "不认识", "错了", "发错了", "打错了", "发错",
     "号码错了", "号码错误", "换号了", "wrong", "wrongnumber", "notme")
)  # fmt: skip
_HELP = frozenset(
    ("help", "info", "h", "?", "??", "帮助", "说明", "bz", "怎么用", "你是谁", "你们是谁")
)  # fmt: skip
# One of these in a short text means stop, whatever else it says; after a "not" it means nothing.
_STOP_INSIDE = re.compile(r"退订|拒收|取消订阅|别再?发|不要再?发|不想再?收|停止发送|stop sending|unsubscribe")
_NOT_STOP = re.compile(r"(?:不|别|勿|没有?|未)(?:要|想|是|用|能)?(?:退订|拒收|取消订阅)|don'?t unsubscribe")
_SHORT = 24
_START_AND = re.compile(
    r"^(?:dy(?![a-z])|订阅|定阅|subscribe\b|start\b|join\b)[\s:,;+、。.\-]*(?P<rest>.*)$", re.DOTALL
)
_ASKED = re.compile(r"^(?:请)?(?:回复|回|发送|发|编辑|send|reply)\s*[:]?\s*(?=\S)")
_EDGE = " \t\r\n.,;:!~*#'\"`“”‘’「」『』()<>《》[]【】。，；：！、…-_"
_CUT = re.compile(r"[\s+,;:、/|。，；]+")
_ROBOT = re.compile(r"^\s*[【\[][^】\]]{2,20}[】\]]\s*\S|自动回复|auto-?\s?reply|out of office")
# The way out that every mass text names; in a long text it was written by a machine.
_MASS = re.compile(r"(?:拒收|退订)请?回复|回复?td退订")
_MASS_FROM = 16  # characters


@dataclass(frozen=True, slots=True)
class Command:
    """What was understood.

    Attributes:
        word: ``robot`` gets no answer at all; ``other`` gets the help text.
        rest: What stands beside a sign-up, piece by piece: places, roles. Folded, at most four.
    """

    word: Word
    rest: tuple[str, ...] = ()


def read(text: str) -> Command:
    """Understand one message; case, width, spaces, quotes and Traditional characters do not matter."""
    folded = fold(text[:_MOST])
    if _ROBOT.search(folded) or (len(folded) >= _MASS_FROM and _MASS.search(folded)):
        return Command("robot")
    plain = folded.strip(_EDGE)
    plain = _ASKED.sub("", plain).strip(_EDGE) or plain
    close = re.sub(r"\s+", "", plain)
    if not close:
        return Command("help" if "?" in folded else "other")
    if _is_stop(close, plain):
        return Command("stop")
    for word, known in _EXACT:
        if close in known:
            return Command(word)
    if match := _START_AND.match(re.sub(r"^d\s+y\b", "dy", plain)):
        pieces = [piece[:_REST_SIZE] for piece in _CUT.split(match["rest"].strip(_EDGE)) if piece]
        return Command("start", tuple(pieces[:_REST_MOST]))
    return Command("other")


_EXACT: tuple[tuple[Word, frozenset[str]], ...] = (
    ("start", _START), ("yes", _YES), ("not_me", _NOT_ME), ("help", _HELP),
)  # fmt: skip


def _is_stop(close: str, plain: str) -> bool:
    if close in _STOP or re.fullmatch(r"0{1,6}", close):
        return True
    if re.match(r"(?:td|stop|unsubscribe)(?![a-z])", plain) and len(close) <= _SHORT:
        return True
    if len(close) > _SHORT or _NOT_STOP.search(plain):
        return False
    return bool(_STOP_INSIDE.search(plain))
