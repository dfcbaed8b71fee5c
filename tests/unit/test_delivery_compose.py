"""How digests read as mail and as short messages."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html  # type: ignore[import-untyped]

from delivery import mail_parts
from delivery.compose import compose_mail
from delivery.compose_sms import TEMPLATES, compose_sms
from delivery.errors import PermanentError
from delivery.mime import to_bytes
from delivery.sms_text import segments
from delivery.types import Digest, EntryView
from tests.unit.test_delivery_golden import BASE, at, digest, entry, mail, sms

LANGS = pytest.mark.parametrize("lang", ["zh-Hans", "en"])


class TestMail:
    @LANGS
    def test_a_digest_is_rebuilt_exactly(self, lang: str) -> None:
        first = mail(digest(lang))
        second = compose_mail(
            digest(lang),
            to="other@mail.example",
            sender=first.sender,
            message_id="<other@b.example>",
            date=at(20),
        )
        assert (first.subject, first.text, first.html) == (second.subject, second.text, second.html)

    @pytest.mark.parametrize(
        ("lang", "days", "subject"),
        [
            ("zh-Hans", [], "【示例】示例市公告：今天 2 条与您有关"),
            ("zh-Hans", [0], "【示例】示例市公告：今天 2 条与您有关（含 1 条今日截止）"),
            ("zh-Hans", [1, 1], "【示例】示例市公告：今天 2 条与您有关（含 2 条明日截止）"),
            ("zh-Hans", [-1, 2], "【示例】示例市公告：今天 2 条与您有关"),
            ("en", [], "【示例】Shili notices: 2 for you today"),
            ("en", [0, 1], "【示例】Shili notices: 2 for you today (1 closes today, 1 closes tomorrow)"),
            ("en", [1, 1], "【示例】Shili notices: 2 for you today (2 close tomorrow)"),
        ],
    )
    def test_subjects(self, lang: str, days: list[int], subject: str) -> None:
        entries = [entry(1), entry(2)]
        for place, day in enumerate(days):
            entries[place] = replace(entries[place], deadline=at(12, 2) + timedelta(days=day))
        assert mail(digest(lang, entries=tuple(entries))).subject == subject

    def test_tomorrow_is_counted_in_the_readers_zone(self) -> None:
        late = entry(1, deadline=at(12, 17), deadline_has_time=True)  # 13 October 01:00 in Shanghai
        assert "1 条明日截止" in mail(digest(entries=(late, entry(2)))).subject
        assert "1 条今日截止" in mail(digest(entries=(late, entry(2)), timezone="UTC")).subject

    def test_one_notice_gives_its_title(self) -> None:
        assert mail(digest(entries=(entry(1),))).subject == "【示例】示例市公告：第1号公告"
        long = mail(digest(entries=(entry(1, title="长" * 100),))).subject
        assert len(long) < 80 and long.endswith("…")
        real = mail(digest(entries=(entry(1, title="停水"),), sample=False))
        assert real.subject == "示例市公告：停水"
        assert "示例城市" not in real.text + real.html

    @LANGS
    def test_both_parts_say_the_same(self, lang: str) -> None:
        message = mail(digest(lang))
        page = html.fromstring(message.html)
        shown = re.sub(r"\s+", "", page.find("body").text_content())
        for one in digest(lang).entries:
            parts = [] if one.sensitive else [one.title, one.summary, one.agency, one.phone, *one.reasons]
            for part in parts:
                assert part in message.text and re.sub(r"\s+", "", part) in shown
        links = set(page.xpath("//a[starts-with(@href, 'http')]/@href"))
        assert links == set(re.findall(r"^\s*(http\S+)$", message.text, re.MULTILINE))

    @LANGS
    def test_the_page_is_kept_simple(self, lang: str) -> None:
        message = mail(digest(lang))
        page = html.fromstring(message.html)
        assert page.get("lang") == lang
        assert not page.xpath("//img | //script | //link | //form | //iframe")
        assert not re.search(r"url\(|@import", message.html)
        assert len(page.xpath("//h1")) == 1
        assert len(page.xpath("//h2")) == len(digest(lang).entries)
        assert page.xpath("//meta[@name='color-scheme']/@content") == ["light dark"]
        assert all(table.get("role") == "presentation" for table in page.xpath("//table"))

    def test_another_language_is_marked(self) -> None:
        page = html.fromstring(mail(digest()).html)
        (cell,) = page.xpath("//div[@lang='en']")
        assert "Guting Bridge" in cell.text_content()

    @pytest.mark.parametrize("ratio_of", ["light", "dark"])
    def test_contrast(self, ratio_of: str) -> None:
        pairs = {
            "light": (
                "1c2126/fdfdfe 4b5560/fdfdfe 174ea6/fdfdfe 3d4854/eef3fa "
                "5f4300/fdf0cf 8a1c12/fbe1de dfe9f7/1b4686 ffffff/1b4686"
            ),
            "dark": (
                "eceff2/1d232a b4bdc7/1d232a 8ab8ff/1d232a b4bdc7/232c36 "
                "ffe2a0/3d3318 ffc9c4/4d2020 10151b/8ab8ff dfe9f7/15315c"
            ),
        }
        page = mail(digest()).html + mail(digest(discreet=True)).html
        for pair in pairs[ratio_of].split():
            ink, paper = (f"#{colour}" for colour in pair.split("/"))
            assert ink in page and paper in page
            assert _contrast(ink, paper) >= 4.5, (ink, paper)

    def test_hostile_texts_stay_texts(self) -> None:
        evil = "<script>alert(1)</script>\r\nBcc: a@b.example\x00"
        nasty = entry(
            1, title=evil, summary=evil, agency=evil, phone=evil, reasons=(evil,), mark="corrected",
            mark_note=evil, url="javascript:alert(1)",
        )  # fmt: skip
        for entries in ((nasty,), (nasty, entry(2))):
            message = mail(digest(entries=entries, city_name=evil))
            page = html.fromstring(message.html)
            assert not page.xpath("//script") and "javascript:" not in message.html + message.text
            assert "\n" not in message.subject
            assert to_bytes(message)

    @LANGS
    @pytest.mark.parametrize("one", [True, False])
    def test_sensitive_entries_say_nothing(self, lang: str, one: bool) -> None:
        secret = next(found for found in digest(lang).entries if found.sensitive)
        entries = (secret,) if one else (secret, entry(9))
        message = mail(digest(lang, entries=entries))
        assert not [word for word in ("不应", "救助", "secret") if word in _everything(message)]
        if one:
            assert message.subject.endswith(("您关注的事项有更新", "An update on something you follow"))

    def test_a_title_can_be_kept_out_of_the_subject_alone(self) -> None:
        quiet = entry(1, title="临时救助申请", quiet_subject=True)
        message = mail(digest(entries=(quiet,)))
        assert message.subject == "【示例】示例市公告：您关注的事项有更新"
        assert "临时救助申请" in message.text and "临时救助申请" in message.html
        assert "救助" not in mail(digest(entries=(quiet, entry(2)))).subject

    @LANGS
    def test_discreet_means_the_page_only(self, lang: str) -> None:
        message = mail(digest(lang, discreet=True))
        assert message.subject.endswith(("您关注的事项有更新", "An update on something you follow"))
        assert "/notices/" not in message.text + message.html
        for found in digest(lang).entries:
            assert found.title not in _everything(message)

    def test_headers(self) -> None:
        headers = dict(mail(digest()).headers)
        assert headers["List-Unsubscribe"] == f"<{BASE}/u/{'t' * 200}>"
        assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert headers["List-Id"] == "<notices.city.example>"
        assert headers["Auto-Submitted"] == "auto-generated"
        raw = to_bytes(mail(digest())).split(b"\r\n")
        assert f"List-Unsubscribe: <{BASE}/u/{'t' * 200}>".encode() in raw
        assert "List-Unsubscribe" not in dict(mail(digest(unsubscribe_url="")).headers)

    @LANGS
    @pytest.mark.parametrize("discreet", [True, False])
    def test_what_is_sent_is_what_was_composed(self, lang: str, discreet: bool) -> None:
        message = mail(digest(lang, discreet=discreet))
        assert message.pieces is not None
        assert to_bytes(message) == to_bytes(replace(message))
        found = email.message_from_bytes(to_bytes(message), policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        sent = [part.get_content().replace("\r\n", "\n") for part in found.iter_parts()]
        assert sent == [message.text, message.html]

    def test_what_readers_share_is_written_once_and_stays_little(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("delivery.mail_parts._KEPT", 4)
        views = digest().entries
        shared = tuple(replace(one, shared=replace(one, reasons=())) for one in views)
        told = [mail(digest(entries=entries)) for entries in (views, shared, shared)]
        assert told[0] == told[1] == told[2]
        other = replace(shared[0], reasons=("另一个理由",), own_url=f"{BASE}/r/abc")
        assert "另一个理由" in mail(digest(entries=(other,))).text
        assert f"{BASE}/r/abc" in mail(digest(entries=(other,))).html
        assert len(mail_parts._parts) <= 4

    def test_ten_notices_of_a_city_stay_a_small_mail(self) -> None:
        long = entry(
            title="【示例】" + "关于某项事务的通知" * 3, summary="办理时间、地点与所需材料。" * 30,
            agency="示例市某某局", phone="020-0000 1234", deadline=at(30), reasons=("您关注“某项事务”",),
        )  # fmt: skip
        message = mail(digest(entries=tuple(replace(long, notice_id=n) for n in range(10))))
        assert len(to_bytes(message)) < 26_000
        assert message.text.count("办理时间") == message.html.count("办理时间") == 70

    def test_an_empty_digest_is_no_mail(self) -> None:
        with pytest.raises(PermanentError):
            mail(digest(entries=()))


class TestSms:
    def check(self, view: Digest) -> str:
        """Every promise that holds for every short message."""
        message = sms(view)
        assert message.text.startswith(f"【{view.signature}】")
        assert message.segments == segments(message.text) <= 2
        assert "拒收请回复R" in message.text or "Reply R to stop" in message.text
        name = message.template_id.removesuffix("-nolink")
        linked = not message.template_id.endswith("-nolink")
        assert message.text.endswith(" city.example/me") is linked
        link = " city.example/me" if linked else ""
        sample = "【示例】" if view.sample else ""
        assert message.text == f"【{view.signature}】{sample}" + TEMPLATES[name].format(
            link=link, **message.params
        )
        assert not [value for value in message.params.values() if "http" in value or "www." in value]
        assert "\n" not in message.text
        return str(message.text)

    def test_story_of_the_elder(self) -> None:
        one = entry(1, title="65岁以上老年人免费体检通知", phone="021-0000 5678", deadline=at(30, 15))
        text = self.check(digest(entries=(one,), signature="虹口公告", sample=False))
        assert (
            text
            == "【虹口公告】65岁以上老年人免费体检通知，10月30日(周五)截止，电话021-0000 5678。拒收请回复R"
        )
        assert len(text) <= 70

    def test_an_official_title_loses_its_frame_first(self) -> None:
        one = entry(
            1,
            title="示例市科学技术局、示例市财政局关于开展2026年度高新技术企业认定奖励申报工作的通知",
            phone="020-00001234",
            deadline=at(30, 9),
            deadline_has_time=True,
        )
        text = self.check(digest(entries=(one,)))
        assert "】示例市科学技术局" in text and "认定奖励申报工作的通知，10月30日(周五)17:00截止" in text
        short = self.check(digest(entries=(replace(one, phone="12345"),)))  # its heart fits one segment
        assert "】2026年度高新技术企业认定奖励申报工作，10月30日(周五)17:00截止，电话12345" in short
        assert len(short) <= 70

    def test_several_are_counted(self) -> None:
        assert "今天6条与您有关：①" in self.check(digest())
        assert "1 of 4 for you, rest online: " in self.check(digest("en"))

    def test_as_many_as_stay_readable(self) -> None:
        short = tuple(entry(number, title=f"停水通知{number}") for number in range(1, 7))
        assert sms(digest(entries=short)).template_id.startswith("some-zh-4")
        assert sms(digest(entries=short[:4])).template_id.startswith("digest-zh-4")
        long = tuple(
            entry(number, title="关于" + "长" * 60 + "的通知", phone="020-00001234", deadline=at(30))
            for number in range(1, 7)
        )
        assert sms(digest(entries=long)).template_id.startswith("first-zh")
        self.check(digest(entries=long))

    def test_whole_titles_of_fewer_rather_than_stumps_of_more(self) -> None:
        titles = (
            "听螺岛北岸栈道10月17日重新开放，轮渡恢复至每日二十四班",
            "三条道路10月18日夜间封闭施工，预计19日清晨恢复通行",
            "《示例市2026年下半年公共自行车服务规范（征求意见稿）》公开征求意见",
            "2026年下半年教师资格认定",
        )
        text = self.check(digest(entries=tuple(entry(n, title=one) for n, one in enumerate(titles, 1))))
        assert f"①{titles[0]}；②{titles[1]}；③{titles[2]}。其余见“我的页面”" in text and "…" not in text
        whole = self.check(digest(entries=tuple(entry(n, title=one) for n, one in enumerate(titles[2:], 1))))
        assert f"①{titles[2]}；②{titles[3]}。拒收" in whole and "其余" not in whole

    @LANGS
    def test_sensitive_ones_are_counted_not_named(self, lang: str) -> None:
        secret = next(found for found in digest(lang).entries if found.sensitive)
        for entries in ((secret,), (secret, secret), (secret, entry(9)), (secret, entry(8), entry(9))):
            text = self.check(digest(lang, entries=entries))
            assert not [word for word in ("不应", "救助", "secret") if word in text]
            if all(one.sensitive for one in entries):
                assert "您关注的事项有更新" in text or "An update on something you follow" in text
            else:
                assert f"{len(entries)}条" in text or f"{len(entries)} for you" in text

    def test_discreet(self) -> None:
        text = self.check(digest(discreet=True))
        assert (
            text
            == "【示例市公告】【示例】您关注的事项有更新，详情请到“我的页面”查看。拒收请回复R city.example/me"
        )

    def test_marks_and_notes(self) -> None:
        corrected = entry(1, title="居民水价", mark="corrected", mark_note="“3.45元”应为“3.54元”")
        assert "更正：居民水价，“3.45元”应为“3.54元”。" in self.check(digest(entries=(corrected,)))
        withdrawn = entry(1, title="亲子活动", mark="withdrawn", deadline=at(30))
        assert "已撤回：亲子活动。" in self.check(digest(entries=(withdrawn,)))
        storm = entry(
            1, title="台风橙色预警", summary="今晚22时起，请留在室内，远离窗户。" * 4, mark="emergency"
        )
        assert "紧急：台风橙色预警，今晚22时起，请留在室内" in self.check(digest(entries=(storm,)))

    def test_addresses_of_the_web_are_left_out(self) -> None:
        text = self.check(
            digest(entries=(entry(1, title="报名 https://evil.example/x 开始 www.evil.example"),))
        )
        assert "evil" not in text and "报名 开始" in text

    def test_abroad(self) -> None:
        message = compose_sms(digest(entries=(entry(1),)), to="+4915100000000", out_id="d1")
        assert message.segments == segments(message.text, domestic=False)

    @pytest.mark.parametrize("view", [digest(entries=()), digest(signature=" ")])
    def test_nothing_to_say(self, view: Digest) -> None:
        with pytest.raises(PermanentError):
            sms(view)

    @LANGS
    @given(data=st.data())
    def test_it_always_fits(self, lang: str, data: st.DataObject) -> None:
        text = st.text(st.sampled_from("关于开展的通知停水价2026abc ，。《》🙂\n{}%"), max_size=150)
        one = st.builds(
            lambda title, phone, due, mark, note, secret: entry(
                1, title=title, phone=phone, deadline=due, deadline_has_time=True, mark=mark, mark_note=note,
                summary=note, sensitive=secret,
            ),
            text, st.text("0123456789- ", max_size=40), st.sampled_from([None, at(30)]),
            st.sampled_from(["", "corrected", "withdrawn", "emergency"]), text, st.booleans(),
        )  # fmt: skip
        entries: list[EntryView] = data.draw(st.lists(one, min_size=1, max_size=6))
        self.check(digest(lang, entries=tuple(entries), sample=data.draw(st.booleans())))


def _everything(message: object) -> str:
    return repr(message)


def _contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
