"""What readers do in WeChat: join, stop and read by a word or the menu, allow and withdraw messages.

Each answer is free and comes at once; a message later needs the reader's consent to the template. Doing the
same twice changes nothing, since WeChat repeats what it believes lost. Called by the hook and by
``mycity wechat menu``.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

from api.jobs import joining
from api.views import picks_view
from api.wiring import Services
from delivery.sms_text import clip
from delivery.wechat_wire import Incoming
from delivery.wording import is_chinese, shown_title
from profiles.types import Profile

CHANNEL = "wechat"
# WeChat repeats a call whose answer is late: the second must find the profile of the first.
_joining = Lock()
_HOUR = 8
_SHOWN = 5
_JOIN = frozenset({"DY", "订阅", "JOIN", "訂閱"})
_STOP = frozenset({"TD", "退订", "退訂", "STOP", "R", "T"})
_TODAY = frozenset({"今天", "TODAY", "看公告", "1"})
# WeChat shows about 600 Chinese characters of a text.
_MOST = 600


def menu(base_url: str) -> dict[str, Any]:
    """The menu of an official account: read, my page, stop."""
    return {
        "button": [
            {"type": "click", "name": "今日公告", "key": "TODAY"},
            {"type": "view", "name": "我的城市", "url": f"{base_url}/"},
            {
                "name": "订阅",
                "sub_button": [
                    {"type": "click", "name": "开始订阅", "key": "JOIN"},
                    {"type": "click", "name": "停止订阅", "key": "STOP"},
                ],
            },
        ]
    }


def answer(services: Services, incoming: Incoming) -> str:
    """Do what a reader asks for; return the answer they see, or ``""`` for none."""
    if incoming.choices is not None:
        return _chosen(services, incoming)
    if incoming.event in ("unsubscribe", "user_authorization_revoke"):
        _stop(services, incoming.reader, "unsubscribed")
        return ""
    word = "".join(incoming.text.split()).upper()
    if incoming.event == "subscribe":
        return _help(services)
    if word in _JOIN:
        with _joining:
            return _join(services, incoming.reader)
    if word in _STOP:
        return _stop(services, incoming.reader, "unsubscribed")
    if word in _TODAY:
        return _today(services, incoming.reader)
    return _help(services)


def reader_of(services: Services, openid: str) -> Profile | None:
    """The profile that a reader joined with, or ``None``."""
    found = services.profiles.many(services.contacts.holders(CHANNEL, openid))
    return found[0] if found else None


def _join(services: Services, openid: str) -> str:
    profile, mark = reader_of(services, openid), services.city.sample_mark
    if profile is not None:
        if services.subscriptions.live(profile.id, CHANNEL) is None:
            joining.subscribe(services, profile, CHANNEL, _HOUR)
        return f"{mark}您已经订阅了。回复“今天”看与您有关的公告，回复“退订”停止。"
    wish = Profile(id=0, created_at=services.clock.now())
    made = joining.join(services, wish)
    services.contacts.put(made.profile.id, CHANNEL, openid, at=services.clock.now(), verified=True)
    joining.subscribe(services, made.profile, CHANNEL, _HOUR)
    return (
        f"{mark}订阅好了。先说说您住在哪里、关心什么，公告才会与您有关（此网址只属于您，请勿转发）：\n"
        f"{services.settings.base_url}/me/enter/{made.manage_secret}\n回复“今天”看公告，回复“退订”停止。"
    )


def _stop(services: Services, openid: str, reason: str) -> str:
    profile = reader_of(services, openid)
    if profile is None or not joining.stop_channel(services, profile.id, CHANNEL, reason):
        return "您没有订阅，不会收到消息。回复“订阅”可以开始。"
    services.outbox.cancel_profile(profile.id, services.clock.now(), channel=CHANNEL)
    return "已停止，不再向您发消息。回复“订阅”可以重新开始。"


def _today(services: Services, openid: str) -> str:
    profile = reader_of(services, openid)
    if profile is None:
        return "您还没有订阅。回复“订阅”开始，然后说说您住在哪里、关心什么。"
    shelf = services.editions.shelf(profile.id)
    picks = [one.pick for one in shelf.picks[:_SHOWN]]
    # The chat lies open on the phone: worded like a text message.
    entries = picks_view(services, profile, picks, lang=profile.lang, surface="sms")
    if not entries:
        return "今天还没有与您有关的公告。"
    if profile.discreet:
        return f"您关注的事项有更新，详情请到“我的页面”查看：\n{services.settings.base_url}/me"
    lines = [f"{n}. {shown_title(entry, profile.lang)}\n{entry.url}" for n, entry in enumerate(entries, 1)]
    head = "与您有关的公告：" if is_chinese(profile.lang) else "For you:"
    return clip("\n".join([services.city.sample_mark + head, *lines]), _MOST)


def _chosen(services: Services, incoming: Incoming) -> str:
    """A reader allowed or withdrew subscription messages in WeChat itself."""
    profile = reader_of(services, incoming.reader)
    if profile is None or not incoming.choices:
        return ""
    if "reject" in incoming.choices.values():
        _stop(services, incoming.reader, "withdrawn")
    elif services.subscriptions.live(profile.id, CHANNEL) is None:
        joining.subscribe(services, profile, CHANNEL, _HOUR)
    return ""


def _help(services: Services) -> str:
    name = services.city.name.zh
    return (
        f"{services.city.sample_mark}{name}公告：每天最多十条，只送与您有关的，条条写明理由。\n"
        "回复“订阅”开始，“今天”看公告，“退订”停止。"
    )
