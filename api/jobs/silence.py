"""Why did nothing come today? Answers from what planning and sending wrote down, for one person and channel.

It changes nothing, guesses nothing and names no notice, so the answer may stand anywhere. Called by the
resident's pages, the API, ``mycity digests why`` and ``mycity profiles show``; docs/digests.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from api.wiring import Services
from delivery.digest_runs import RunStore
from delivery.outbox import EVERYTHING
from delivery.types import Delivery
from feeds.kernel.time import from_micros
from profiles.standing import standing
from profiles.types import Subscription

_CAPTURE = "capture"
# Channels whose address is a contact; the others keep theirs in places of their own.
_ADDRESSED = ("email", "sms")
# The first picks are made while somebody joins, just before the channel is switched on.
_JOINED = timedelta(hours=1)

#: code → (Chinese, English); ``{when}`` is the instant that belongs to it, ``{next}`` when the next comes.
SENTENCES: dict[str, tuple[str, str]] = {
    "none": ("您没有开通这个渠道。", "This channel is not switched on."),
    "stopped": ("这个渠道已停用，不会再发送。", "This channel was stopped; nothing is sent any more."),
    "no_address": ("没有可用的地址，请重新填写。", "There is no address; please give one again."),
    "unverified": (
        "地址还没有确认。请打开我们发去的确认信息，确认后才会发送。",
        "The address is not confirmed yet. Please follow the confirmation we sent; nothing comes before.",
    ),
    "suppressed": (
        "发往这个地址的信息被退回或拒收，已停止发送。请更换地址。",
        "Messages to this address came back or were refused, so we stopped; give another.",
    ),
    "resting": ("您设置了暂停，到{when}为止。", "You asked for a rest until {when}."),
    "resting_open": ("您设置了暂停，恢复之前不会发送。", "You asked for a rest; end it to get more."),
    "rested": ("最近一次应发送时您在暂停中。", "You were resting when the last message was due."),
    "sending_paused": (
        "我们暂停了发送，恢复后补发；过时的内容并入下一次。",
        "Sending is paused on our side; it goes on later, and what is too late comes with the next one.",
    ),
    "held": ("这一批正等待工作人员确认后发送。", "This batch waits for a member of staff to confirm it."),
    "halted": (
        "这一批因退信过多自动停下，正在检查。",
        "This batch stopped by itself because too many messages bounced; it is being looked at.",
    ),
    "waiting": ("已排队，将在{when}发送。", "It is queued and goes out at {when}."),
    "on_its_way": ("正在发送。", "It is being sent."),
    "sent": ("已于{when}发出。没有看到时，请检查垃圾邮件或拦截短信。",
             "It was sent at {when}. If it is not there, please look among spam or blocked messages."),
    "delivered": ("已于{when}送达。", "It was delivered at {when}."),
    "bounced": ("发出后被退回。请检查地址。", "It was sent and came back. Please check the address."),
    "failed": ("发送失败，我们会检查。", "It could not be sent; we look into it."),
    "unknown": (
        "可能已发出，但没有得到确认；为避免重复，没有再发。",
        "It may have been sent, but this was not confirmed; we do not send it twice.",
    ),
    "expired": ("没能及时发出，内容并入下一次。", "It could not go out in time; the next one covers it."),
    "late": ("错过了发送时间，内容并入下一次。", "Its hour was missed on our side; the next one covers it."),
    "cancelled": ("这一次已被取消。", "This one was cancelled."),
    "already_had": (
        "没有新内容：相关公告您已收到过，或已失效、超过7天。",
        "Nothing new: you already had what there was, or it no longer stands or is older than 7 days.",
    ),
    "muted": ("仅有的内容是您屏蔽的。", "All there was is what you muted."),
    "nothing_new": ("没有与您有关的新公告；没有内容就不发送。",
                    "Nothing new that concerns you; we never send an empty message."),
    "joined": (
        "您加入时已看到当时的公告，那些不再另行发送；此后还没有与您有关的新公告。",
        "You saw these when you joined, so they are not sent again; nothing that concerns you is newer.",
    ),
    "not_yet": ("还没到第一次发送的时间。", "The first one is not due yet."),
}  # fmt: skip
_NEXT = ("下一次：{next}。", "Next: {next}.")
_AT_ONCE = ("有新内容时会立即发送。", "The next one comes as soon as there is news.")
# Codes after which nothing comes by itself.
_OVER = frozenset({"none", "stopped", "no_address", "unverified", "suppressed", "resting_open"})


@dataclass(frozen=True, slots=True)
class Answer:
    """Why nothing came, or that something did.

    Attributes:
        code: One of :data:`SENTENCES`.
        zh, en: The same in a sentence or two.
        next_due: When the next message may come; ``None`` where none will, or as soon as there is news.
    """

    code: str
    zh: str
    en: str
    next_due: datetime | None = None

    def text(self, lang: str) -> str:
        """The sentence in a reader's language."""
        return self.zh if lang.lower().startswith("zh") else self.en


def why(services: Services, profile_id: int, channel: str) -> Answer:
    """Say why the last message of a channel did not come, and when the next one will.

    Args:
        services: The joined parts.
        profile_id: Whose.
        channel: Which.
    """
    now = services.clock.now()
    live = services.subscriptions.live(profile_id, channel)
    if live is None:
        known = any(one.channel == channel for one in services.subscriptions.of(profile_id))
        return _said(services, "stopped" if known else "none", None, None)
    code, when = _block(services, live, now) or _last(services, live, now)
    return _said(services, code, when, live)


def _block(services: Services, live: Subscription, now: datetime) -> tuple[str, datetime | None] | None:
    """What keeps everything from coming, whatever was planned."""
    pair = (live.profile_id, live.channel)
    with services.database.read() as connection:
        stands = standing(connection, [pair])[pair]
    port = services.channels.get(live.channel)
    if stands.suppressed and (stands.suppressed_until is None or now < stands.suppressed_until):
        return "suppressed", None
    if not stands.known and live.channel in _ADDRESSED:
        return "no_address", None
    if stands.known and not stands.verified and port is not None and port.name != _CAPTURE:
        return "unverified", None
    if live.rests(now):
        return ("resting", live.paused_until) if live.paused_until else ("resting_open", None)
    return None


def _last(services: Services, live: Subscription, now: datetime) -> tuple[str, datetime | None]:
    """What became of the last planning."""
    if live.last_planned_at is None:
        return "not_yet", None
    if live.last_result in ("late", "paused"):
        return ("late" if live.last_result == "late" else "rested"), None
    rows = [row for row in services.outbox.for_profile(live.profile_id) if _is_digest(row, live)]
    if not rows:
        asked = (live.profile_id, live.created_at - _JOINED, services.clock.now())
        kinds = {edition.kind for edition in services.editions.between_many([asked])[0]}
        return ("joined" if kinds == {"welcome"} else "nothing_new"), None
    return _became(services, rows[-1], now)


def _is_digest(row: Delivery, live: Subscription) -> bool:
    """Whether a row is the message of the last planning, not one of before or a copy for somebody else."""
    if row.channel != live.channel or ":copy:" in row.dedupe_key or row.lane not in ("digest", "immediate"):
        return False
    window = row.recipe.get("window")
    return window is not None and from_micros(window[1]) >= live.covered_until


def _became(services: Services, row: Delivery, now: datetime) -> tuple[str, datetime | None]:
    if row.state in ("queued", "held"):
        paused = services.outbox.paused()
        if EVERYTHING in paused or row.channel in paused:
            return "sending_paused", None
        if row.state == "held":
            run = RunStore(services.database).get(row.run_id) if row.run_id else None
            return ("halted" if run is not None and run.state == "halted" else "held"), None
        return ("waiting", row.due_at) if row.due_at > now else ("on_its_way", None)
    if row.state == "skipped":
        return {"muted": "muted", "paused": "rested"}.get(row.error, "already_had"), None
    if row.state == "complained":
        return "suppressed", None
    if row.state == "leased":
        return "on_its_way", None
    return row.state, row.sent_at


def _said(services: Services, code: str, when: datetime | None, live: Subscription | None) -> Answer:
    due = None
    at_once = live is not None and live.frequency == "immediate"
    if live is not None and code not in _OVER and not at_once:
        due = live.next_due_at
        if when is not None and code == "resting" and due < when:
            due = None  # the first hour after the rest; the rest's end was said already
    words = []
    for n, name in enumerate(("zh", "en")):
        sentence = SENTENCES[code][n].format(when=_moment(when, services.zone, name))
        follows = ""
        if due is not None:
            follows = _NEXT[n].format(next=_moment(due, services.zone, name))
        elif at_once and code not in _OVER and code != "resting":
            follows = _AT_ONCE[n]
        words.append(sentence + ("" if name == "zh" or not follows else " ") + follows)
    return Answer(code, words[0], words[1], due)


def _moment(at: datetime | None, zone: ZoneInfo, lang: str) -> str:
    if at is None:
        return ""
    local = at.astimezone(zone)
    if lang == "zh":
        return f"{local.month}月{local.day}日 {local:%H:%M}"
    return f"{local.day} {_MONTHS[local.month - 1]}, {local:%H:%M}"


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
