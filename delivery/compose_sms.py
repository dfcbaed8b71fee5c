"""Chooses what fits into a short message of at most two segments. Pure.

A text goes out only with a signature and a template that carriers have approved, so a message is a
template id and its parameters; the text is what they render to. It is complete without its link,
which is fixed, belongs to the template and stands last. No parameter carries an address of the web.
Called by ``delivery.compose``, ``delivery.compose_alert`` and ``api.jobs``; :data:`TEMPLATES` is what
an operator registers (``mycity sms templates``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from delivery.errors import PermanentError
from delivery.sms_text import clean, clip, segments, units
from delivery.types import Digest, EntryView, SmsMessage
from delivery.wording import SAMPLE, is_chinese

SINGLE, DOUBLE = 70, 134
_MOST_TITLES = 4
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_ABOUT = re.compile(
    r"^.{0,40}?关于(?:印发|发布|公布|开展|做好)?(.{6,}?)(?:的(?:通知|公告|通告|公示|函|意见|决定))?$"
)

# Words of each template around its parameters. ``{link}`` is the one registered link, fixed in the
# approved text; a second template of the same words without it is registered as ``…-nolink``.
_DIGESTS: Mapping[str, str] = {
    "discreet-zh": "您关注的事项有更新，详情请到“我的页面”查看。拒收请回复R{link}",
    "digest-zh-1": "{item1}。拒收请回复R{link}",
    "first-zh": "今天{count}条与您有关，第一条：{item1}。其余见“我的页面”。拒收请回复R{link}",
    "digest-zh-2": "今天{count}条与您有关：①{item1}；②{item2}。拒收请回复R{link}",
    "digest-zh-3": "今天{count}条与您有关：①{item1}；②{item2}；③{item3}。拒收请回复R{link}",
    "digest-zh-4": "今天{count}条与您有关：①{item1}；②{item2}；③{item3}；④{item4}。拒收请回复R{link}",
    "some-zh-2": "今天{count}条与您有关：①{item1}；②{item2}。其余见“我的页面”。拒收请回复R{link}",
    "some-zh-3": ("今天{count}条与您有关：①{item1}；②{item2}；③{item3}。其余见“我的页面”。拒收请回复R{link}"),
    "some-zh-4": (
        "今天{count}条与您有关：①{item1}；②{item2}；③{item3}；④{item4}。其余见“我的页面”。拒收请回复R{link}"
    ),
    "discreet-en": "An update on something you follow. Reply R to stop{link}",
    "digest-en-1": "{item1}. Reply R to stop{link}",
    "first-en": "1 of {count} for you, rest online: {item1}. Reply R to stop{link}",
    "digest-en-2": "{count} for you today: (1) {item1}; (2) {item2}. Reply R to stop{link}",
    "digest-en-3": "{count} for you today: (1) {item1}; (2) {item2}; (3) {item3}. Reply R to stop{link}",
    "digest-en-4": (
        "{count} for you today: (1) {item1}; (2) {item2}; (3) {item3}; (4) {item4}. Reply R to stop{link}"
    ),
    "some-en-2": (
        "{count} for you today: (1) {item1}; (2) {item2}. More on your page. Reply R to stop{link}"
    ),
    "some-en-3": (
        "{count} for you today: (1) {item1}; (2) {item2}; (3) {item3}. "
        "More on your page. Reply R to stop{link}"
    ),
    "some-en-4": (
        "{count} for you today: (1) {item1}; (2) {item2}; (3) {item3}; (4) {item4}. "
        "More on your page. Reply R to stop{link}"
    ),
}
# Warnings and corrections; ``note`` holds whole sentences.
_URGENT: Mapping[str, str] = {
    "alert-zh": "紧急：{title}。{note}拒收请回复R{link}",
    "update-zh": "更新：{title}。{note}拒收请回复R{link}",
    "cancel-zh": "解除：{title}。{note}拒收请回复R{link}",
    "fix-zh": "更正：{title}。{note}拒收请回复R{link}",
    "alert-en": "Emergency: {title}. {note}Reply R to stop{link}",
    "update-en": "Update: {title}. {note}Reply R to stop{link}",
    "cancel-en": "Over: {title}. {note}Reply R to stop{link}",
    "fix-en": "Correction: {title}. {note}Reply R to stop{link}",
}
# Answers and questions (``delivery.compose_reply``). A code never carries a link.
_REPLIES: Mapping[str, str] = {
    "code-zh": "验证码{code}，10分钟内有效，请勿告诉他人。若非您本人操作，请忽略",
    "welcome-zh": "您已订阅{scope}的公告，有新内容的日子{hour}点发一条。退订请回复TD，咨询请打{phone}{link}",
    "unplaced-zh": (
        "已为您订阅全市公告，只是没认出“{name}”。请再发送DY加地名，例如DY{example}。退订请回复TD{link}"
    ),
    "already-zh": "您已订阅过{scope}的公告，有新内容的日子{hour}点发一条，不用再订。退订请回复TD{link}",
    "stopped-zh": "已退订，我们不再给这个号码发短信。想重新订阅请发送DY，咨询请打{phone}{link}",
    "help-zh": "发送DY加地名订阅公告，例如DY{example}；发送TD退订。咨询请打{phone}{link}",
    "kept-zh": "好的，短信照常，有新内容的日子{hour}点发一条。退订请回复TD{link}",
    "still-zh": "这个号码订阅了我们的公告短信。想继续收请回复Y，不是您订的请回复R{link}",
    "copyask-zh": "{whom}订阅了公告短信，想让您也收到一份。同意请回复Y；不回复，我们就不再打扰{link}",
    "copyon-zh": "好的，今后{whom}收到公告短信时，您也会收到一份。不想再收请回复TD{link}",
    "copyoff-zh": "今后不再把{whom}的公告短信抄送给您。咨询请打{phone}{link}",
    "copyend-zh": "您的公告短信原来还抄送一人，对方已退出；您自己的短信照常。咨询请打{phone}{link}",
    "code-en": "Your code is {code}, valid for 10 minutes. Tell nobody. Not you? Ignore this",
    "welcome-en": (
        "You now get notices for {scope} at {hour}:00 on days with news. "
        "Reply TD to stop. Questions: {phone}{link}"
    ),
    "unplaced-en": (
        "You now get notices for the city; we do not know {name}. Try DY {example}. Reply TD to stop{link}"
    ),
    "already-en": (
        "You already get notices for {scope} at {hour}:00 on days with news. Reply TD to stop{link}"
    ),
    "stopped-en": (
        "Stopped: no more texts to this number. Send DY to get them again. Questions: {phone}{link}"
    ),
    "help-en": (
        "For notices send DY and a place, e.g. DY {example}. To stop send TD. Questions: {phone}{link}"
    ),
    "kept-en": "Thank you, the texts go on, at {hour}:00 on days with news. Reply TD to stop{link}",
    "still-en": (
        "This number is subscribed to our notices. Reply Y to keep them, or R if it was not you{link}"
    ),
    "copyask-en": (
        "Hello, {whom} gets notices by text and would like you to have a copy. "
        "Reply Y to agree, else ignore this{link}"
    ),
    "copyon-en": "Thank you. When {whom} gets a notice by text, so do you. Reply TD to stop{link}",
    "copyoff-en": "You no longer get copies of the notices for {whom}. Questions: {phone}{link}",
    "copyend-en": (
        "Somebody who got copies of your texts has left; your own texts go on. Questions: {phone}{link}"
    ),
}
# A copy for somebody else says for whom: 为母亲：… Warnings have none: they go by where somebody lives.
_COPIED = ("discreet-{}", "digest-{}-1", "first-{}", "digest-{}-2", "digest-{}-3", "digest-{}-4",
           "some-{}-2", "some-{}-3", "some-{}-4", "fix-{}")  # fmt: skip
_FOR = {"zh": "为{whom}：", "en": "For {whom}: "}
TEMPLATES: Mapping[str, str] = {
    **_DIGESTS,
    **_URGENT,
    **_REPLIES,
    **{
        f"copy-{form.format(lang)}": _FOR[lang] + {**_DIGESTS, **_URGENT}[form.format(lang)]
        for lang in ("zh", "en")
        for form in _COPIED
    },
}
_MARKS = {
    "zh": {"lifted": "已解除：", "withdrawn": "已撤回：", "corrected": "更正：", "expired": "已到期：",
           "emergency": "紧急："},
    "en": {"lifted": "Lifted: ", "withdrawn": "Withdrawn: ", "corrected": "Correction: ",
           "expired": "Expired: ", "emergency": "Emergency: "},
}  # fmt: skip
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class _Item:
    """A notice in parts: only ``title`` may be shortened, ``note`` may be dropped."""

    mark: str
    title: str
    tail: str
    note: str = ""

    def text(self, room: int, lang: str) -> str:
        fixed = units(self.mark) + units(self.tail)
        title = _shortened(self.title, max(room - fixed, 1), lang)
        spare = room - fixed - units(title)
        comma = "，" if lang == "zh" else ", "
        note = clip(self.note, spare - units(comma)) if self.note and spare >= 12 else ""
        return f"{self.mark}{title}{comma + note if note else ''}{self.tail}"

    def least(self, lang: str) -> int:
        """Room in which the title stands whole, without its official frame."""
        return units(self.mark) + units(self.tail) + units(_heart(self.title, lang))

    def most(self, lang: str) -> int:
        whole = units(self.mark) + units(self.title) + units(self.tail)
        return whole + (units(self.note) + 2 if self.note else 0)


def compose_sms(digest: Digest, *, to: str, out_id: str, whom: str = "") -> SmsMessage:
    """Write the short message of a digest.

    One notice aims at one segment (70 characters), several at two. Deadlines and phone numbers are
    kept whole, and as many are named as fit with whole titles (only a first one that is too long by
    itself is cut); the count tells how many there are in all, and where not all are named a sentence
    says where the rest is. Sensitive ones are counted, never named.

    Args:
        digest: At least one entry; ``page_url`` is the fixed registered link.
        to: E.164.
        out_id: Our own reference.
        whom: In a copy for somebody else: whose digest it is, e.g. ``母亲``.

    Raises:
        PermanentError: If the digest is empty or has no signature.
    """
    if not digest.entries or not digest.signature.strip():
        raise PermanentError("The short message has no entry or no signature; it was not built.")
    lang = "zh" if is_chinese(digest.lang) else "en"
    head = f"【{clean(digest.signature)}】" + (SAMPLE if digest.sample else "")
    named = [] if digest.discreet else [entry for entry in digest.entries if not entry.sensitive]
    mark = _FOR[lang].format(whom=whom) if whom else ""
    name, params = _choose(named, digest, lang, head + mark)
    if whom:
        name, params = f"copy-{name}", {"whom": whom, **params}
    return _message(name, params, head, digest.page_url, to=to, out_id=out_id)


def compose_named(
    name: str,
    params: Mapping[str, str],
    *,
    signature: str,
    to: str,
    out_id: str,
    link: str = "",
    sample: bool = False,
    trim: str = "",
) -> SmsMessage:
    """Write a short message from one of :data:`TEMPLATES`.

    Args:
        name: With its language, e.g. ``fix-zh``.
        params: All that the template names.
        signature: The registered signature without brackets.
        to: E.164.
        out_id: Our own reference.
        link: The one registered link; used where the template has one and it costs no segment.
        sample: True for the sample city.
        trim: The parameter that is shortened until all fits into two segments.

    Raises:
        PermanentError: If there is no signature, no such template, or a parameter is missing.
    """
    if not signature.strip() or name not in TEMPLATES:
        raise PermanentError(f"The short message {name} has no signature or is not known; it was not built.")
    head = f"【{clean(signature)}】" + (SAMPLE if sample else "")
    values = {key: _plain(value) for key, value in params.items()}
    try:
        if trim:
            around = head + TEMPLATES[name].format(link="", **{**values, trim: ""})
            values[trim] = clip(values[trim], max(0, DOUBLE - units(around)))
        return _message(name, values, head, link, to=to, out_id=out_id)
    except KeyError as error:
        raise PermanentError(f"The short message {name} lacks {error}; it was not built.") from error


def _message(
    name: str, params: Mapping[str, str], head: str, link: str, *, to: str, out_id: str
) -> SmsMessage:
    """Render with the link if the template has one and it costs no segment, else without."""
    words = TEMPLATES[name]
    bare = head + words.format(link="", **params)
    linked = f"{bare} {link}" if link and words.endswith("{link}") else bare
    domestic = to.startswith("+86")
    fits = linked != bare and segments(linked, domestic) == segments(bare, domestic)
    text = linked if fits else bare
    return SmsMessage(
        to=to,
        template_id=name if fits or not words.endswith("{link}") else f"{name}-nolink",
        params=params,
        text=text,
        segments=segments(text, domestic),
        out_id=out_id,
    )


def _choose(named: list[EntryView], digest: Digest, lang: str, head: str) -> tuple[str, dict[str, str]]:
    """Take the template that names most notices with whole titles within two segments."""
    if not named:
        return f"discreet-{lang}", {}
    items = [_item(entry, digest, lang) for entry in named]
    total = str(len(digest.entries))
    if len(digest.entries) == 1:
        name = f"digest-{lang}-1"
        return name, {"item1": _single(items[0], head + TEMPLATES[name].format(link="", item1=""), lang)}
    for count in range(min(len(items), _MOST_TITLES), 0, -1):
        form = "digest" if count == len(digest.entries) else "some"
        name = f"{form}-{lang}-{count}" if count > 1 else f"first-{lang}"
        blank = {"count": total} | {f"item{place}": "" for place in range(1, count + 1)}
        room = DOUBLE - units(head + TEMPLATES[name].format(link="", **blank))
        if count == 1 or sum(item.least(lang) for item in items[:count]) <= room:
            texts = _shared(items[:count], room, lang)
            return name, blank | {f"item{place}": text for place, text in enumerate(texts, 1)}
    raise AssertionError("the loop ends at one title")


def _single(item: _Item, around: str, lang: str) -> str:
    """Fill one segment if the title stays whole in it, else two."""
    room = SINGLE - units(around)
    whole = item.most(lang) <= room
    short = item.least(lang) <= room and not item.note
    return item.text(room if whole or short else DOUBLE - units(around), lang)


def _shared(items: list[_Item], room: int, lang: str) -> list[str]:
    """Give each item its least, and what is left to those that still want more, in order."""
    rooms = [item.least(lang) for item in items]
    left = room - sum(rooms)
    for place, item in enumerate(items):
        share = min(left // (len(items) - place), max(0, item.most(lang) - rooms[place]))
        rooms[place] += share
        left -= share
    for place, item in enumerate(items):
        more = min(left, max(0, item.most(lang) - rooms[place]))
        rooms[place] += more
        left -= more
    return [item.text(size, lang) for item, size in zip(items, rooms, strict=True)]


def _item(entry: EntryView, digest: Digest, lang: str) -> _Item:
    zone = ZoneInfo(digest.timezone)
    today = digest.window_end.astimezone(zone).date()
    title = _plain(entry.title).removeprefix(SAMPLE).rstrip("。.;；")
    note = entry.mark_note if entry.mark else ""
    if entry.mark == "emergency":
        note = entry.mark_note or entry.summary
    over = entry.mark in ("withdrawn", "lifted", "expired")
    tail = "" if over else "".join(_tail(entry, zone, today, lang))
    return _Item(_MARKS[lang].get(entry.mark, ""), title, tail, _plain(note).rstrip("。.;；"))


def _tail(entry: EntryView, zone: ZoneInfo, today: date, lang: str) -> Iterator[str]:
    if entry.deadline is not None:
        local = entry.deadline.astimezone(zone)
        clock = f"{local:%H:%M}" if entry.deadline_has_time else ""
        other_year = local.year != today.year
        if lang == "zh":
            year = f"{local.year}年" if other_year else ""
            yield f"，{year}{local.month}月{local.day}日(周{'一二三四五六日'[local.weekday()]}){clock}截止"
        else:
            year = f" {local.year}" if other_year else ""
            day = f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}{year}"
            yield f", by {day} {clock}".rstrip()
    if phone := clean(entry.phone)[:24]:
        yield f"，电话{phone}" if lang == "zh" else f", call {phone}"


def _shortened(title: str, room: int, lang: str) -> str:
    """Drop the frame of an official title (关于…的通知) before cutting its heart."""
    if units(title) <= room:
        return title
    return clip(_heart(title, lang), room)


def _heart(title: str, lang: str) -> str:
    match = _ABOUT.match(title) if lang == "zh" else None
    return match.group(1) if match else title


def _plain(text: str) -> str:
    """One line without web addresses, which carriers refuse in a parameter."""
    return clean(_URL.sub("", text))
