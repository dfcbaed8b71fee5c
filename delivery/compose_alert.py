"""Gives a warning the form of a mail or of a short message. Pure.

A warning is written once for a language and a stage (first alert, update, end); what differs from reader to
reader (why they get it, how they stop) is put in afterwards, so that a whole city costs one composition.
What must be read first stands first: what it is, what to do, until when, whom to call. A test is marked as
one everywhere. Called by ``api.jobs.alert_building`` and ``api.jobs.issuing``.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from delivery.compose_sms import DOUBLE, TEMPLATES
from delivery.errors import PermanentError
from delivery.mime import sender_address
from delivery.sms_text import clean, clip, segments, units
from delivery.types import MailMessage, SmsMessage
from delivery.wording import SAMPLE, is_chinese, one_line, readable

Step = Literal["new", "update", "end"]
_SUBJECT_MOST = 70
_TITLE_MOST = {"zh": 44, "en": 64}
# What changed has so much room beside the title of an update; the title keeps at least so much.
_CHANGED_MOST, _TITLE_LEAST = 44, 16
_REASON, _STOP = "\x01", "\x02"
TEST = {"zh": "【演练】", "en": "[TEST] "}
_HEADS = {
    "zh": {"new": "紧急预警", "update": "预警更新", "end": "预警解除"},
    "en": {"new": "Emergency alert", "update": "Alert updated", "end": "Alert over"},
}
_NOTHING_MORE = {
    "zh": {"new": "请留意最新通知。", "update": "请留意最新通知。", "end": "此预警已解除。"},
    "en": {"new": "Watch for further news. ", "update": "Watch for further news. ",
           "end": "This warning is over. "},
}  # fmt: skip
# The clause of a title that tells people to do something: false, and dangerous, once it is over.
_ORDER = re.compile(
    r"\s*(?:[，,;；：—]|--)\s*(?:请|立即|立刻|马上|尽快|迅速|尽量|务必|切勿|请勿|勿|不要|不得|严禁|禁止|避免|远离|注意).*$"
    r"|\s*(?:[,;:.—]|--)\s*(?:please |immediately )?(?:leave|evacuate|stay|keep|avoid|do not|don't|never|go"
    r"|move|close|take|seek|boil|prepare|get|shelter|act)\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[。！？!?；;])\s*|(?<=[a-z)\]0-9]\.)\s+")
_GAP = re.compile(r"(?<=[。；！？，：])\s+")
_SMS = {"new": "alert", "update": "update", "end": "cancel"}
_WORDS = {
    "zh": {
        "do": "怎么办", "where": "范围：", "until": "有效至：", "phone": "电话：", "agency": "发布：",
        "changed": "更新内容：", "more": "查看完整内容和最新情况", "why": "为什么收到：",
        "stop": "不再接收（打开后确认）",
        "test": "这是演练，不是真实预警，请勿采取行动。", "sample": "这是示例城市的内容，均为虚构。",
        "over": "此预警已解除。", "again": "这是同一条预警的再次发送。",
    },
    "en": {
        "do": "What to do", "where": "Area: ", "until": "Until: ", "phone": "Phone: ",
        "agency": "Issued by: ",
        "changed": "What changed: ", "more": "Full text and latest state", "why": "Why you get this: ",
        "stop": "Stop these mails (asks before it acts)",
        "test": "This is a test, not a real warning. Do not act on it.",
        "sample": "This city is invented: everything in it is for demonstration only.",
        "over": "This warning is over.", "again": "This is the same warning, sent once more.",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlertText:
    """A warning as its readers see it, in one language and for one stage; texts plain and final.

    Attributes:
        lang: Of the words around it.
        text_lang: Of title and text, where it is another language; else ``""``.
        advice: What to do; paragraphs separated by line breaks.
        areas: Names of the places, in one line.
        note: Why it is over, at its end; what changed, in an update.
        url: Absolute address of the notice's page.
        link: The one registered link of short messages, or ``""``.
        again: It is sent once more, because nobody knows whether the first one arrived.
        test: It is a test: marked everywhere.
    """

    step: Step
    lang: str
    title: str
    text: str
    url: str
    city_name: str
    signature: str
    timezone: str
    advice: str = ""
    areas: str = ""
    level: str = ""
    until: datetime | None = None
    agency: str = ""
    phone: str = ""
    note: str = ""
    link: str = ""
    text_lang: str = ""
    sample: bool = False
    again: bool = False
    test: bool = False


@dataclass(frozen=True, slots=True)
class _Form:
    subject: str
    text: str
    html: str


def compose_alert_mail(
    alert: AlertText,
    *,
    reason: str,
    unsubscribe_url: str,
    to: str,
    sender: str,
    message_id: str,
    date: datetime,
    envelope_from: str = "",
) -> MailMessage:
    """Write the mail of a warning: a text part and an HTML part that say the same.

    Args:
        alert: What it says; equal ones are written once.
        reason: Why this reader gets it, one sentence; ``""`` leaves the line out.
        unsubscribe_url: One-click address, or ``""`` (tests).
        to: One bare address.
        sender: ``Name <address>`` or an address.
        message_id: The same on every retry.
        date: Stands in the Date header only.
        envelope_from: The address that it bounces to.
    """
    form = _form(alert)
    reason, stop = one_line(reason), readable(unsubscribe_url)
    label = _WORDS[_language(alert.lang)]
    plain = f"{label['why']}{reason}\n" if reason else ""
    text = form.text.replace(_REASON, plain)
    rich = form.html.replace(_REASON, html.escape(f"{label['why']}{reason}") if reason else "")
    headers = [
        ("List-Id", f"<alerts.{sender_address(sender).rpartition('@')[2]}>"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", alert.lang),
        ("Importance", "high"),
    ]
    if stop:
        headers += [
            ("List-Unsubscribe", f"<{stop}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ]
    return MailMessage(
        to=to,
        subject=form.subject,
        text=text.replace(_STOP, f"{label['stop']}：\n{stop}\n" if stop else ""),
        html=rich.replace(_STOP, html.escape(stop, quote=True) if stop else "#"),
        message_id=message_id,
        sender=sender,
        date=date,
        headers=tuple(headers),
        envelope_from=envelope_from,
    )


def compose_alert_sms(alert: AlertText, *, to: str, out_id: str) -> SmsMessage:
    """Write the short message of a warning: at most two segments, complete without its link.

    Title, end and phone are kept; what to do is cut where there is no room.

    Raises:
        PermanentError: If the city has no registered signature.
    """
    if not alert.signature.strip():
        raise PermanentError("The short message has no signature; it was not built.")
    name, params, bare = _sms(alert)
    domestic = to.startswith("+86")
    linked = f"{bare} {alert.link}" if alert.link else bare
    fits = linked != bare and segments(linked, domestic) == segments(bare, domestic)
    text = linked if fits else bare
    return SmsMessage(
        to=to,
        template_id=name if fits else f"{name}-nolink",
        params=params,
        text=text,
        segments=segments(text, domestic),
        out_id=out_id,
    )


@lru_cache(maxsize=512)
def _sms(alert: AlertText) -> tuple[str, dict[str, str], str]:
    lang = _language(alert.lang)
    name = f"{_SMS[alert.step]}-{lang}"
    head = f"【{clean(alert.signature)}】" + (SAMPLE if alert.sample else "")
    title = clip(_title(alert), _TITLE_MOST[lang])
    if alert.step == "update" and alert.note:
        title = _beside(
            title, alert, lang, DOUBLE - units(head + TEMPLATES[name].format(title="", note="", link=""))
        )
    around = units(head + TEMPLATES[name].format(title=title, note="", link=""))
    said = _said(alert, lang)
    # A phone that the advice names anyway is not said twice.
    for tail in (_tail(replace(alert, phone=""), lang), _tail(alert, lang)):
        room = DOUBLE - around - units(tail) - 4
        advice = _whole(said, room) if said and room > 8 else ""
        if alert.phone and clean(alert.phone) in advice:
            break
    stop = "。" if lang == "zh" else ". "
    # Providers refuse an empty parameter, so something is always said.
    parts = (f"{part}{' ' if lang == 'en' else ''}" if part.endswith("…") else f"{part}{stop}"
             for part in (advice, tail) if part)  # fmt: skip
    note = _GAP.sub("", "".join(parts)) or _NOTHING_MORE[lang][alert.step]
    params = {"title": title, "note": note}
    return name, params, head + TEMPLATES[name].format(link="", **params)


def _beside(title: str, alert: AlertText, lang: str, room: int) -> str:
    """A title that leaves room for what changed: who gets an update was told the rest before."""
    changed = min(units(_joined([alert.note], lang)), _CHANGED_MOST)
    left = room - units(_tail(alert, lang)) - changed - 6
    if units(title) <= left:
        return title
    return clip(calm_title(title), max(left, _TITLE_LEAST))


def _said(alert: AlertText, lang: str) -> str:
    """What there is to say between the title and the end: first what changed, or why it is over."""
    if alert.step == "end":
        return _joined([alert.note], lang)
    changed = [alert.note] if alert.step == "update" else []
    return _joined([*changed, *(alert.advice or alert.text).splitlines()], lang)


def _joined(lines: list[str], lang: str) -> str:
    """Lines as sentences after one another, without the last one's stop."""
    bare = [line for line in (clean(readable(one)).rstrip("。.;；") for one in lines) if line]
    return ("。" if lang == "zh" else ". ").join(bare)


def _whole(said: str, room: int) -> str:
    """As many whole sentences as there is room for; cut only where not even the first fits."""
    if units(said) <= room:
        return said
    kept = ""
    for part in _SENTENCE.split(said):
        longer = f"{kept}{'' if not kept or kept[-1] in '。！？；' else ' '}{part}"
        if units(longer.rstrip("。.;；")) > room:
            break
        kept = longer
    return kept.rstrip("。.;； ") or clip(said, room)


def calm_title(title: str) -> str:
    """A title without its order (``…，请立即撤离``): what happened, for when it is over.

    >>> calm_title("汀阳区燃气泄漏，请立即撤离")
    '汀阳区燃气泄漏'
    >>> calm_title("Gas leak in Tingyang District: leave now")
    'Gas leak in Tingyang District'
    """
    return _ORDER.sub("", title) or title


def _tail(alert: AlertText, lang: str) -> str:
    """End and phone, which are never cut."""
    parts = []
    if alert.until is not None and alert.step != "end":
        local = alert.until.astimezone(ZoneInfo(alert.timezone))
        parts.append(
            f"至{local.month}月{local.day}日{local:%H:%M}" if lang == "zh" else f"until {local:%d %b %H:%M}"
        )
    if phone := clean(alert.phone)[:24]:
        parts.append(f"电话{phone}" if lang == "zh" else f"call {phone}")
    said = ("，" if lang == "zh" else ", ").join(parts)
    return said[:1].upper() + said[1:]


def _title(alert: AlertText) -> str:
    lang = _language(alert.lang)
    title = one_line(alert.title).removeprefix(SAMPLE).rstrip("。.;；")
    if alert.step == "end":
        title = calm_title(title)
    return (TEST[lang] if alert.test else "") + clean(title)


def _language(lang: str) -> Literal["zh", "en"]:
    return "zh" if is_chinese(lang) else "en"


@lru_cache(maxsize=512)
def _form(alert: AlertText) -> _Form:
    lang = _language(alert.lang)
    head = _HEADS[lang][alert.step]
    mark = (TEST[lang] if alert.test else "") + (SAMPLE if alert.sample else "")
    title = one_line(alert.title).removeprefix(SAMPLE)
    if alert.step == "end":
        # Nothing of what people were told to do, and no level, stands in an all-clear.
        title = calm_title(title)
        alert = replace(alert, text="", advice="", level="")
    context = {
        "alert": alert, "lang": alert.lang, "label": _WORDS[lang], "head": head, "mark": mark,
        "title": title, "reason": _REASON, "stop": _STOP, "sample_mark": SAMPLE,
        "until": _when(alert.until, alert.timezone, lang),
        "paragraphs": _paragraphs(alert.text), "steps": _paragraphs(alert.advice),
    }  # fmt: skip
    subject = f"{mark}{head}{'：' if lang == 'zh' else ': '}{clip(title, _SUBJECT_MOST)}"
    return _Form(subject, _render("alert.txt.j2", context) + "\n", _render("alert.html.j2", context) + "\n")


def _when(until: datetime | None, timezone: str, lang: str) -> str:
    if until is None:
        return ""
    local = until.astimezone(ZoneInfo(timezone))
    return f"{local.month}月{local.day}日 {local:%H:%M}" if lang == "zh" else f"{local.day} {local:%b, %H:%M}"


def _paragraphs(text: str) -> list[str]:
    return [one_line(line) for line in readable(text).splitlines() if line.strip()]


def _render(name: str, context: dict[str, object]) -> str:
    return _environment().get_template(name).render(context).strip()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("delivery", "templates"),
        autoescape=select_autoescape(["html", "html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
