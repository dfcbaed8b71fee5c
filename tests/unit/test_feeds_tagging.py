"""Tagging: small invented notices, false friends, old names, scripts, causes, and the share of real ones."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median

import pytest

from feeds.catalogue.city_files import load_city
from feeds.catalogue.tagging import MAX_THEMES, Tag, Tagger
from feeds.catalogue.vocabulary import City
from feeds.catalogue.words import one_form

DATA = Path(os.environ.get("MYCITY_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


@pytest.fixture(scope="module")
def city() -> City:
    return load_city("shanghai")


@pytest.fixture(scope="module")
def tagger(city: City) -> Tagger:
    return Tagger(city)


def codes(tags: tuple[Tag, ...], kind: str) -> set[str]:
    return {tag.code for tag in tags if tag.kind == kind}


def cause(tags: tuple[Tag, ...], kind: str, code: str) -> str:
    return next(tag.cause for tag in tags if (tag.kind, tag.code) == (kind, code))


@pytest.mark.parametrize(
    ("title", "themes"),
    [
        ("关于小规模纳税人增值税减免的公告", {"0402", "04"}),
        ("关于开展既有住宅加装电梯工作的通知", {"1002", "10"}),
        ("明年春季义务教育阶段学校招生工作的通知", {"1102", "11"}),
        ("关于做好城乡居民医疗保险参保缴费的通知", {"1502", "15"}),
        ("台风黄色预警信号", {"1005", "10"}),
        ("关于调整最低生活保障标准的通知", {"1706", "17"}),
        ("Changes to income tax rules for small traders", {"0402", "04"}),
        ("Airworthiness directive for the invented Model 7 airplane", {"0710", "07"}),
    ],
)
def test_a_plain_title_gets_its_theme_and_the_parent(tagger: Tagger, title: str, themes: set[str]) -> None:
    assert themes <= codes(tagger.tag(title=title, text=""), "theme")


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("关于本市居民申领消费券的公告", "citizen"),
        ("关于中小企业技术改造补贴申报的通知", "enterprise"),
        ("外商投资准入负面清单征求意见", "investor"),
        ("国庆期间景区限流公告", "tourist"),
        ("关于做好临时救助工作的通知", "aid"),
        ("关于调整住房公积金租赁提取额度的通知", "citizen"),
    ],
)
def test_the_audience_is_named(tagger: Tagger, title: str, role: str) -> None:
    assert role in codes(tagger.tag(title=title, text=""), "role")


@pytest.mark.parametrize(
    ("title", "kind", "code"),
    [
        ("关于《某某办法（征求意见稿）》公开征求意见的公告", "type", "consultation"),
        ("网传某路封闭系不实信息", "type", "rumour"),
        ("某事业单位公开招聘工作人员公告", "type", "recruitment"),
        ("某某路部分路段停水通知", "type", "service"),
        ("高新技术企业认定奖励申报指南", "type", "subsidy"),
        ("拟录用人员名单公示", "type", "publicity"),
        ("应届毕业生落户打分办法", "life", "graduation"),
        ("失业保险金申领须知", "life", "unemployment"),
        ("小客车牌照额度拍卖公告", "life", "driving"),
    ],
)
def test_kinds_of_notice_and_life_events(tagger: Tagger, title: str, kind: str, code: str) -> None:
    assert code in codes(tagger.tag(title=title, text=""), kind)


@pytest.mark.parametrize(
    "title",
    ["黄浦江游船恢复运营", "普陀山进香道路封闭", "舟山普陀区渔港改造", "坚持金山银山理念", "宝山钢铁年度报告",
     "松江省旧档案开放", "长宁地震救援总结", "浦东国际机场新增航线"],
)  # fmt: skip
def test_false_friends_are_no_district(tagger: Tagger, city: City, title: str) -> None:
    found = codes(tagger.tag(title=title, text=""), "place")
    assert not {code for code in found if city.places[code].kind in ("district", "street")}


@pytest.mark.parametrize(
    ("title", "code"),
    [
        ("普陀区部分路段停水", "310107"),
        ("崇明、浦东、奉贤、金山发布台风橙色预警", "310116"),
        ("上海宝山开通新公交线路", "310113"),
        ("原闸北区档案查询点迁移", "310106"),
        ("卢湾体育馆改造公示", "310101"),
        ("南汇区旧版印章作废", "310115"),
        ("曲阳路街道老年人免费体检", "310109010"),
        ("真如停水通知", "310107022"),
        ("临港新片区人才公寓申请", "sh-lingang"),
        ("Road works in Pudong this weekend", "310115"),
    ],
)
def test_places_by_today_and_old_names(tagger: Tagger, city: City, title: str, code: str) -> None:
    found = codes(tagger.tag(title=title, text=""), "place")
    assert {code, "310000"} <= found
    assert set(city.ancestors(code)) - {"cn"} <= found


def test_a_short_ambiguous_name_alone_stays_silent(tagger: Tagger) -> None:
    assert not codes(tagger.tag(title="金山发布新一批节目", text=""), "place")


def test_the_longest_name_wins(tagger: Tagger) -> None:
    found = codes(tagger.tag(title="静安区宝山路街道便民活动", text=""), "place")
    assert "310106017" in found
    assert "310113" not in found


def test_notices_from_elsewhere_have_no_place_here(tagger: Tagger) -> None:
    for region in ("UK", "US", "台湾地区"):
        tags = tagger.tag(title="中山街道與浦東合作備忘", text="", region=region)
        assert not codes(tags, "place")
        assert tagger.jurisdiction(tags=tags, region=region) == ("elsewhere", None)


def test_traditional_text_matches_simplified_rules(tagger: Tagger) -> None:
    traditional = tagger.tag(title="預告「營業稅法施行細則」修正草案", text="", region="台湾地区")
    assert "0402" in codes(traditional, "theme")
    assert "consultation" in codes(traditional, "type")
    regional = tagger.tag(title="公告行動寬頻業務資格", text="", upstream=["電信通訊(電訊，通訊)"])
    assert "0706" in codes(regional, "theme")


def test_normalise_folds_width_case_script_and_space() -> None:
    assert one_form("ＡＢＣ　臺灣\n 稅務") == "abc 台湾 税务"


@pytest.mark.parametrize(
    ("title", "fires"),
    [("New tax rules", True), ("Taxes rise", True), ("Taxi ranks", False), ("Syntax of forms", False)],
)
def test_english_words_stand_whole(tagger: Tagger, title: str, fires: bool) -> None:
    assert ("0402" in codes(tagger.tag(title=title, text=""), "theme")) is fires


def test_each_cause_names_rule_place_and_word(tagger: Tagger) -> None:
    tags = tagger.tag(
        title="市税务局关于调整增值税申报期限的公告", text="", agency="上海市税务局", doc_type="规范性文件"
    )
    assert cause(tags, "theme", "0402") == "theme.0402.tax@title:增值税"
    assert cause(tags, "theme", "04") == "theme.0402.tax@title:增值税"
    assert cause(tags, "agency", "sh-tax") == "agency.sh-tax@agency:上海市税务局"
    assert cause(tags, "type", "regulation").endswith("@doc_type:规范性文件")
    assert all(0 < tag.weight <= 1 for tag in tags)


def test_weights_follow_where_the_word_stood(tagger: Tagger) -> None:
    def weight(**notice: object) -> float:
        tags = tagger.tag(**{"title": "无题", "text": "", **notice})  # type: ignore[arg-type]
        return next(tag.weight for tag in tags if tag.code == "0402")

    assert weight(title="增值税公告") == 1.0
    assert weight(upstream=["税务"]) == 0.9
    assert weight(agency="某市税务局") == 0.7
    assert weight(text="各纳税人请注意") == 0.5


def test_a_passing_mention_far_down_does_not_count(tagger: Tagger) -> None:
    far = "说明" * 300
    assert "0402" not in codes(tagger.tag(title="无题", text=far + "纳税人"), "theme")
    assert "0402" in codes(tagger.tag(title="无题", text=far + "纳税人与纳税人"), "theme")
    law = tagger.tag(title="公园管理条例", text="违反规定的，由公安机关依法处理；公安机关应当配合。")
    assert "1601" not in codes(law, "theme")


def test_the_issuer_in_the_title_is_no_subject(tagger: Tagger) -> None:
    tags = tagger.tag(title="某市水务局、某市财政局关于举办读书会的通知", text="")
    assert cause(tags, "theme", "0603").split("@")[1].startswith("agency:")


def test_a_word_of_unless_in_the_title_forbids_in_the_body_only_silences_the_body(tagger: Tagger) -> None:
    assert "1102" not in codes(tagger.tag(title="全民国防教育日活动", text=""), "theme")
    assert "1102" in codes(tagger.tag(title="中小学课后服务", text="结合国防教育"), "theme")


def test_few_themes_sorted_and_stable(tagger: Tagger, city: City) -> None:
    title = "关于税务、银行、保险业、证券、审计、统计、物价、邮政、铁路工作的通知"
    tags = tagger.tag(title=title, text="")
    assert tags == tagger.tag(title=title, text="")
    assert list(tags) == sorted(tags, key=lambda t: (t.kind, -t.weight, t.code))
    assert len({(t.kind, t.code) for t in tags}) == len(tags)
    assert len([t for t in tags if t.kind == "theme" and city.themes[t.code].parent]) == MAX_THEMES


def test_an_empty_notice_has_no_tags(tagger: Tagger) -> None:
    assert tagger.tag(title="", text="") == ()


@pytest.mark.parametrize(
    ("title", "agency", "region", "source", "expected"),
    [
        ("关于印发某办法的通知", "上海市房屋管理局", "市级", None, ("city", "310000")),
        ("全国性规定", "国务院", "全国", None, ("country", "cn")),
        ("加装电梯补贴办法", "上海市闵行区吴泾镇人民政府", "街镇级", None, ("street", "310112110")),
        ("海绵城市办法", "上海市奉贤区人民政府", "区级", None, ("district", "310120")),
        ("征地补偿通知", "上海市杨浦区人民政府", "区级", None, ("district", "310110")),
        ("融资租赁措施", "临港新片区管委会", "其他", None, ("street", "sh-lingang")),
        ("徐汇区、长宁区联合执法", "", "", None, ("city", "310000")),
        ("无地名通知", "", "", "310104", ("district", "310104")),
        ("无地名通知", "", "", None, ("unknown", None)),
        ("无地名通知", "", "某国", None, ("elsewhere", None)),
    ],
)
def test_jurisdiction(
    tagger: Tagger, title: str, agency: str, region: str, source: str | None, expected: tuple[str, str | None]
) -> None:
    tags = tagger.tag(title=title, text="", agency=agency, region=region)
    assert tagger.jurisdiction(tags=tags, region=region, source_place=source) == expected


def test_every_rule_can_fire(tagger: Tagger, city: City) -> None:
    """A word that a decoy or its own ``unless`` always swallows would be a dead rule."""
    dead = []
    for rule in city.rules:
        words = [{"title": word} for word in rule.title] + [
            {"title": "无题", "text": word} for word in rule.text
        ]
        words += [{"title": "无题", "agency": word} for word in rule.agency]
        words += [{"title": "无题", "doc_type": word} for word in rule.doc_type]
        words += [{"title": "无题", "upstream": word} for word in rule.upstream]
        kind, _, code = rule.tag.partition(":")
        if not any(code in codes(tagger.tag(**_notice(word)), kind) for word in words):  # type: ignore[arg-type]
            dead.append(rule.id)
    assert dead == []


def _notice(part: dict[str, str]) -> dict[str, object]:
    notice: dict[str, object] = {"title": "无题", "text": "", **part}
    if "upstream" in part:
        notice["upstream"] = [part["upstream"]]
    return notice


@pytest.mark.skipif(not (DATA / "notices.jsonl").is_file(), reason="no real notices: set MYCITY_TEST_DATA")
def test_most_real_notices_get_a_few_themes(tagger: Tagger, city: City) -> None:
    with (DATA / "notices.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    started = time.perf_counter()
    tagged = [
        tagger.tag(
            title=row["title"] or "", text=row["body"] or "", agency=row["agency"] or "",
            doc_type=row["doc_type"] or "", upstream=row["tags"], region=row["region"] or "",
        )
        for row in rows
    ]  # fmt: skip
    seconds = time.perf_counter() - started
    leaves = [sum(t.kind == "theme" and bool(city.themes[t.code].parent) for t in tags) for tags in tagged]
    assert sum(n > 0 for n in leaves) / len(leaves) >= 0.93
    assert 1 <= median(leaves) <= 4
    assert max(leaves) <= MAX_THEMES
    assert seconds < 30, "six seconds on one idle core; this only catches a collapse"
