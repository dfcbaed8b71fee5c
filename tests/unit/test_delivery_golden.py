"""What people and readers really get, byte for byte. UPDATE_GOLDEN=1 rewrites the files."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery.compose import compose_mail, compose_sms
from delivery.jsonfeed import render_json
from delivery.syndication import render_atom, render_rss
from delivery.types import Digest, EntryView, FeedView

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "delivery"
BASE = "https://city.example"


def at(day: int, hour: int = 1, minute: int = 0, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def entry(number: int = 1, **changes: object) -> EntryView:
    plain = EntryView(
        notice_id=number,
        revision=1,
        entry_id=f"tag:city.example,2026:notice/{number}",
        url=f"{BASE}/notices/{number}",
        title=f"【示例】第{number}号公告",
        summary="",
        body_html="",
        lang="zh-Hans",
        updated=at(12, 1, number),
        published=at(12, 1, number),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def entries_zh() -> tuple[EntryView, ...]:
    return (
        entry(
            1,
            title="【示例】关于开展2026年度高新技术企业认定奖励申报工作的通知",
            summary="2026年通过认定的企业可申请一次性奖励，最高20万元。",
            body_html="<h2>一、对象</h2><p>注册在<b>汀阳区</b>、2026年通过认定的企业。</p>"
            '<p>详见<a href="https://city.example/a?x=1&amp;y=2">附件</a>。</p>',
            agency="示例市科学技术局",
            source_name="示例市政策平台",
            source_url="https://policy.city.example/1",
            licence="开放数据许可（示例）",
            tags=("企业", "科技"),
            reasons=("您关注“企业奖励”", "您关注的地点：汀阳区（工作）"),
            deadline=at(13, 9),
            deadline_has_time=True,
            phone="020-0000 1234",
        ),
        entry(
            2,
            title="【示例】2026年10月起居民生活用水价格",
            summary="第一阶梯为每立方米3.54元。",
            body_html="<table><tr><td>第一阶梯</td><td>3.54元</td></tr></table>",
            agency="示例市发展和改革局",
            reasons=("您收到过此公告的旧文本",),
            mark="corrected",
            mark_note="原文“3.45元”应为“3.54元”。",
            revision=2,
        ),
        entry(
            3,
            title="【示例】周末亲子活动报名",
            summary="活动因场地原因取消。",
            mark="withdrawn",
            deadline=at(30, 15, 59),
            reasons=("您关注“亲子”",),
            tags=("文化", "亲子", "文化"),
        ),
        entry(
            4,
            title="救助申请复核结果",
            summary="不应出现的摘要",
            body_html="<p>不应出现的正文</p>",
            agency="不应出现的机关",
            source_name="不应出现的来源",
            source_url="https://secret.example/aid",
            licence="不应出现的许可",
            tags=("不应出现的标签",),
            reasons=("不应出现的理由",),
            deadline=at(14),
            phone="不应出现的电话",
            sensitive=True,
        ),
        entry(
            5,
            title="Road works on Guting Bridge <A & B>",
            summary="One lane is closed at night.",
            lang="en",
            agency="Shili Transport Bureau",
            deadline=at(3, 16, month=11),
            source_name="Traffic list",
        ),
        entry(6, title="【示例】65岁以上老年人免费体检通知", deadline=at(12, 15, 59), phone="020-0000 5678"),
    )


def entries_en() -> tuple[EntryView, ...]:
    return (
        entry(
            1,
            title="【示例】Consultation on the negative list for investment in the Lingang zone",
            summary="Comments may be sent by post or on the web.",
            body_html="<p>Comments are welcome.</p>",
            lang="en",
            agency="Shili Commerce Bureau",
            source_name="Shili consultations",
            source_url="https://policy.city.example/en/1",
            licence="Open data licence (sample)",
            tags=("Investment",),
            reasons=("You follow the zone Lingang", "You follow consultations"),
            deadline=at(13, 9),
            deadline_has_time=True,
        ),
        entry(
            2,
            title="【示例】Metro line 2 runs until midnight",
            lang="en",
            mark="expired",
            mark_note="It ran until 11 October.",
        ),
        entry(3, title="secret", lang="en", sensitive=True, mark="withdrawn", mark_note="secret"),
        entry(
            4, title="【示例】今年第三次人才公寓申请", lang="zh-Hans", phone="020-0000 1234", deadline=at(20)
        ),
    )


def feed(lang: str = "zh-Hans", **changes: object) -> FeedView:
    chinese = lang.startswith("zh")
    view = FeedView(
        feed_id="tag:city.example,2026:feed/7",
        self_url="",
        page_url=f"{BASE}/me",
        title="【示例】我的城市" if chinese else "【示例】My city",
        subtitle="与您有关的公告" if chinese else "Notices that matter to you",
        lang=lang,
        updated=at(12, 1, 6),
        entries=entries_zh() if chinese else entries_en(),
        author="示例市" if chinese else "Shili",
        about_url=f"{BASE}/about/feeds",
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def digest(lang: str = "zh-Hans", **changes: object) -> Digest:
    chinese = lang.startswith("zh")
    plain = Digest(
        lang=lang,
        city_name="示例市" if chinese else "Shili",
        signature="示例市公告",
        entries=entries_zh() if chinese else entries_en(),
        window_start=at(11, 1),
        window_end=at(12, 1),
        timezone="Asia/Shanghai",
        page_url=f"{BASE}/me",
        unsubscribe_url=f"{BASE}/u/{'t' * 200}",
        sample=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def mail(view: Digest):  # type: ignore[no-untyped-def]
    return compose_mail(
        view,
        to="resident@mail.example",
        sender="示例市公告 <notices@city.example>",
        message_id="<d1.abc@city.example>",
        date=at(12, 1),
    )


def sms(view: Digest):  # type: ignore[no-untyped-def]
    return compose_sms(replace(view, page_url="city.example/me"), to="+8613800000001", out_id="d1")


def check(name: str, actual: str | bytes) -> None:
    path = GOLDEN / name
    data = actual if isinstance(actual, bytes) else actual.encode()
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert data == path.read_bytes(), f"{name} changed; look at it, then run with UPDATE_GOLDEN=1"


@pytest.mark.parametrize(("short", "lang"), [("zh", "zh-Hans"), ("en", "en")])
class TestGolden:
    def test_feeds(self, short: str, lang: str) -> None:
        check(f"feed.{short}.rss", render_rss(feed(lang)))
        check(f"feed.{short}.atom", render_atom(feed(lang)))
        check(f"feed.{short}.json", render_json(feed(lang)))

    def test_public_feed(self, short: str, lang: str) -> None:
        public = tuple(replace(one, reasons=()) for one in feed(lang).entries if not one.sensitive)
        view = feed(lang, entries=public, feed_id=f"{BASE}/feeds/all")
        check(f"public.{short}.rss", render_rss(replace(view, self_url=f"{BASE}/feeds/all.rss")))
        check(f"public.{short}.atom", render_atom(replace(view, self_url=f"{BASE}/feeds/all.atom")))
        check(f"public.{short}.json", render_json(replace(view, self_url=f"{BASE}/feeds/all.json")))

    @pytest.mark.parametrize("kind", ["digest", "one", "discreet"])
    def test_mail(self, short: str, lang: str, kind: str) -> None:
        view = _kind(digest(lang), kind)
        message = mail(view)
        check(f"mail.{kind}.{short}.txt", f"Subject: {message.subject}\n\n{message.text}")
        check(f"mail.{kind}.{short}.html", message.html)

    @pytest.mark.parametrize("kind", ["digest", "one", "discreet"])
    def test_sms(self, short: str, lang: str, kind: str) -> None:
        message = sms(_kind(digest(lang), kind))
        lines = [message.template_id, *(f"{name}={value}" for name, value in message.params.items())]
        check(f"sms.{kind}.{short}.txt", "\n".join([*lines, str(message.segments), message.text, ""]))


def _kind(view: Digest, kind: str) -> Digest:
    if kind == "one":
        return replace(view, entries=view.entries[-1:])
    return replace(view, discreet=kind == "discreet")
