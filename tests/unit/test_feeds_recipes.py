"""Recipes: what a person may write, and what they are told where it does not fit."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from feeds.intake.recipe_fields import Take
from feeds.intake.recipes import html_place, json_steps, load_recipe_file, read_recipe
from feeds.kernel.errors import UsageError
from tests.unit.listfixture import LISTS

FIELDS = {"title": "a@title|a", "url": "a@href"}
GOOD: dict[str, Any] = {"items": "ul.list li", "fields": FIELDS}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "lists.md"


def objection(kind: str, mapping: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read_recipe(kind, mapping)
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("change", "words"), [
    ({"itmes": "li"}, "'itmes'; did you mean items?"),
    ({"items": ""}, "items is no CSS selector"),
    ({"items": "li["}, "write it like 'ul.list li'"),
    ({"items": 5}, "items is no CSS selector"),
    ({"fields": {}}, "needs fields"),
    ({"fields": "title"}, "needs fields"),
    ({"fields": {"published": "span"}}, "at least title or url"),
    ({"fields": FIELDS | {"titel": "a"}}, "did you mean title?"),
    ({"fields": FIELDS | {"date": "a"}}, "did you mean published?"),
    ({"fields": FIELDS | {"link": "a"}}, "did you mean url?"),
    ({"fields": FIELDS | {"qqqq": "a"}}, "call it x_…"),
    ({"fields": FIELDS | {"agency": ""}}, "fields.agency says no place"),
    ({"fields": FIELDS | {"agency": "= "}}, "empty constant"),
    ({"fields": FIELDS | {"agency": "a||b"}}, "empty alternative"),
    ({"fields": FIELDS | {"agency": "a["}}, "fields.agency is no CSS selector"),
    ({"fields": FIELDS | {"agency": "a@:nxt"}}, "did you mean :next?"),
    ({"fields": FIELDS | {"agency": "x{a[}"}}, "fields.agency is no CSS selector"),
    ({"fields": FIELDS | {"agency": 5}}, "must be a text or a table"),
    ({"fields": FIELDS | {"agency": {"re": "x"}}}, "says no place"),
    ({"fields": FIELDS | {"agency": {"at": "a", "regex": "x"}}}, "no key 'regex'; did you mean re?"),
    ({"fields": FIELDS | {"agency": {"at": "a", "re": "("}}}, "fields.agency.re is no regular expression"),
    ({"fields": FIELDS | {"agency": {"at": "a", "re": "(a+)+b"}}}, "take for ever"),
    ({"fields": FIELDS | {"agency": {"at": "a", "join": 1}}}, "fields.agency.join must be a text"),
    ({"fields": FIELDS | {"agency": {"at": "a", "split": ""}}}, "fields.agency.split must be a text"),
    ({"fields": FIELDS | {"agency": {"at": "a", "map": ["x"]}}}, "fields.agency.map must be a table"),
    ({"base": "www.shili.example"}, "base must be a web address"),
    ({"charset": "gb9999"}, "write it like gb18030"),
    ({"skip": {"agency": "x"}}, "skip has no key 'agency'"),
    ({"skip": {"title": "["}}, "skip.title is no regular expression"),
    ({"skip": "x"}, "skip must be a table"),
    ({"method": "PUT"}, "write GET or POST"),
    ({"body": {"a": 1}}, 'add method = "POST"'),
    ({"method": "POST", "form": True}, "form = true needs a body"),
    ({"method": "POST", "form": "yes"}, "form = true needs a body"),
    ({"method": "POST", "body": {"a": {1, 2}}}, "no JSON"),
    ({"method": "POST", "body": "x" * 30_000}, "at most 20000"),
    ({"max_items": 0}, "from 1 to 5000"),
    ({"max_items": True}, "from 1 to 5000"),
    ({"page": {"main": "#a", "removed": []}}, "did you mean remove?"),
    ({"page": {"remove": ["["]}}, "page.remove is no CSS selector"),
    ({"page": "x"}, "page must be a table"),
    ({"delimiter": ";"}, "delimiter is for csv, not for html"),
])  # fmt: skip
def test_objections(change: dict[str, Any], words: str) -> None:
    assert words in objection("html", GOOD | change)


def test_objections_of_other_kinds() -> None:
    assert "delimiter must be one of" in objection("csv", {"fields": FIELDS, "delimiter": "::"})
    assert "header must be a line number" in objection("csv", {"fields": FIELDS, "header": []})
    assert "header must be a line number" in objection("csv", {"fields": FIELDS, "header": -1})
    assert "more than 20 steps" in objection("json", {"fields": {"title": "a." * 30 + "b"}})
    assert "items must be the path" in objection("json", {"fields": FIELDS, "items": 5})
    assert "items is for json, not for csv" in objection("csv", GOOD)
    assert "without a recipe" in objection("cap", GOOD)
    assert "not for feed; allowed are page" in objection("feed", GOOD)
    assert "must be a table" in objection("html", ["items"])


@pytest.mark.parametrize(("kind", "mapping"), [
    ("html", GOOD),
    ("html", GOOD | {"base": "https://a.example/", "charset": "GBK", "skip": {"url": "x"}, "max_items": 9}),
    ("html", GOOD | {"page": {"main": "#a", "remove": [".b"], "title": "h1", "published": ".d"}}),
    ("json", {"fields": {"title": {"at": "t", "re": "x(.)", "join": "、", "split": ";", "map": {"1": "2"}}}}),
    ("json", {"items": "a.b", "fields": {"url": "/x?{id}", "agency": "= 局"}, "method": "post", "body": [1]}),
    ("json", {"fields": FIELDS, "method": "POST", "body": {"p": "1"}, "form": True}),
    ("csv", {"fields": {"title": "标题", "url": "#2"}, "header": ["标题", "链接"], "delimiter": "tab"}),
    ("csv", {"fields": {"title": "标题"}, "header": False}),
    ("feed", {"page": {"main": "#content", "remove": ".share"}}),
    ("feed", {}),
])  # fmt: skip
def test_round_trip(kind: str, mapping: dict[str, Any]) -> None:
    recipe = read_recipe(kind, mapping)
    stored = json.loads(json.dumps(recipe.to_mapping()))
    assert stored == mapping
    assert read_recipe(kind, stored) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    stored["fields"] = None
    assert recipe.to_mapping() == mapping, "what is given out is a copy"


def test_places() -> None:
    assert html_place("td:nth-child(2) a@href") == ("td:nth-child(2) a", "href")
    assert html_place("@:next") == ("", ":next")
    assert html_place(".") == ("", "")
    assert html_place("a") == ("a", "")
    assert json_steps("$.a.b") == json_steps("a.b") == json_steps("/a/b") == ("a", "b")
    assert json_steps("/a.b/c~1d~0") == ("a.b", "c/d~")
    assert json_steps("") == json_steps("$") == ()


def test_what_is_made_of_the_texts() -> None:
    texts = {"a": ["", " 一;二 ", "三"], "b": [], "id": ["x y&z"], "n": ["第12号"]}

    def values(**take: Any) -> list[str]:
        return Take(**take).values(lambda place: texts.get(place, []))

    assert values(at=("b", "a")) == ["一;二", "三"]
    assert values(at=("a",), split=";") == ["一", "二", "三"]
    assert values(at=("a",), split=";", join="、") == ["一、二、三"]
    assert values(at=("b",), join="、") == []
    assert values(constant="局") == ["局"]
    assert values(template="/d?id={id}&n={n}") == ["/d?id=x%20y%26z&n=%E7%AC%AC12%E5%8F%B7"]
    assert values(template="/d?id={id}&n={b}") == []
    assert values(at=("n",), pattern=re.compile(r"\d+")) == ["12"]
    assert values(at=("n",), pattern=re.compile(r"第(\d+)")) == ["12"]
    assert values(at=("n",), pattern=re.compile("x")) == []
    assert values(at=("n", "a"), pattern=re.compile("三")) == ["三"]
    assert values(at=("n",), renamed={"第12号": "十二"}) == ["十二"]


def test_a_file_describes_a_source() -> None:
    settings, recipe = load_recipe_file((LISTS / "platform.toml").read_text(encoding="utf-8"))
    assert settings == {
        "slug": "shili-platform",
        "name": "示例市政策发布平台",
        "url": "https://www.shili.example/search/api/data/affair",
        "kind": "json",
        "agency": "示例市人民政府",
        "minutes": 120,
        "tags": ["role:enterprise"],
        "rules": ["exclude title: 招聘"],
        "release": "review",
        "full_text": True,
    }
    assert recipe is not None
    assert (recipe.method, recipe.body, recipe.form, recipe.max_items) == (
        "POST",
        {"channel": "affair", "pageNo": 1, "pageSize": 50},
        False,
        100,
    )


HEAD = 'slug = "a"\nname = "b"\nurl = "https://a.example/"\n'


@pytest.mark.parametrize(("text", "words"), [
    ("slug = ", "is not TOML"),
    ('slug = "a"', "does not say name"),
    (HEAD, "does not say kind"),
    (HEAD + 'kind = "html"', "needs a [recipe]"),
    (HEAD + 'kind = "html"\nagancy = "x"', "did you mean agency?"),
    (HEAD + 'kind = "html"\nminutes = "5"', "minutes is of the wrong type; write it like minutes = 60."),
    (HEAD + 'kind = "html"\ntags = "x"', "tags is of the wrong type"),
    (HEAD + 'kind = "html"\nfull_text = 1', "full_text is of the wrong type"),
    (HEAD + 'kind = "html"\nrecipe = "x"', "recipe is of the wrong type"),
    (HEAD + 'kind = "html"\n[recipe]\nfields = {title = "a"}', "items is no CSS selector"),
    (HEAD + 'kind = "json"\n[recipe]\nmethod = "POST"\nbody = 2026-01-01\nfields = {title = "a"}', "no JSON"),
    ("a = " + "[" * 5000, "is not TOML"),
])  # fmt: skip
def test_objections_to_a_file(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe_file(text)
    assert words in str(caught.value)


def test_a_feed_needs_no_recipe() -> None:
    assert load_recipe_file(HEAD + 'kind = "feed"')[1] is None
    recipe = load_recipe_file(HEAD + 'kind = "feed"\n[recipe.page]\nmain = "#content"')[1]
    assert recipe is not None
    assert recipe.page.main == "#content"


def test_the_examples_of_the_docs_can_be_read() -> None:
    examples = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    whole = [text for text in examples if "slug =" in text]
    assert len(whole) >= 6
    for text in whole:
        settings, recipe = load_recipe_file(text)
        assert recipe is not None
        assert settings["kind"] == recipe.kind
