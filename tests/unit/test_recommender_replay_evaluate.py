"""The whole evaluation on an invented log, and its cheap half on the real one where that is there."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feeds.kernel.errors import UsageError
from recommender.log import Log, Question, Split
from recommender.replay import evaluate as evaluating
from recommender.replay.chart import chart, label
from recommender.replay.evaluate import chosen_methods, evaluate, judge_signup
from recommender.replay.files import read_folder
from recommender.replay.methods import Content, Popularity, Random, baselines
from recommender.replay.report import FEW
from recommender.replay.signup import TICKS
from recommender.types import Floats
from tests.unit.replay_world import rows, world, write

KEYS = {"ndcg10", "recall10", "mrr", "coverage10", "ndcg10_cold", "se", "diversity10", "novelty10", "bands"}


class Match:
    """Ticked tags, used tags, popularity: a stand-in for the pipeline that needs no training library."""

    name = "pipeline"

    def __init__(self, name: str = "pipeline", ablation: str = "", scale: float = 1.0) -> None:
        self.name, self.ablation, self._scale = name, ablation, scale

    def begin(self, log: Log, split: Split, seed: int) -> None:
        self._log, self.weeks = log, list[list[Question]]()
        self._content, self._popularity = Content(), Popularity()
        self._content.begin(log, split, seed)
        self._popularity.begin(log, split, seed)

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        self.weeks.append(list(week))
        tokens = self._log.item_tokens
        ticked = [
            {
                f"t:{t.removeprefix('interest:')}"
                for t in self._log.user_tokens[q.user]
                if t[:9] == "interest:"
            }
            for q in week
        ]
        match = [
            np.array([len(mine.intersection(tokens[i])) for i in q.items], np.float32)
            for mine, q in zip(ticked, week, strict=True)
        ]
        parts = zip(self._content.answer(week), match, self._popularity.answer(week), strict=True)
        return [self._scale * (a + b + 0.1 * c) for a, b, c in parts]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """One evaluation that most tests look at."""
    methods = [*baselines(), Match(), Match("without_content", "what they did", 0.0)]
    return evaluate(*world(), methods, seed=1).json()


def test_the_report_has_what_it_promises(found: dict[str, Any]) -> None:
    assert list(found["methods"]) == ["random", "newest", "popularity", "content", "pipeline"]
    for values in found["methods"].values():
        assert set(values) >= KEYS
        assert values["questions"] == found["counts"]["questions"]
        assert sum(band["n"] for band in values["bands"].values()) == values["questions"]
        assert values["ndcg10_cold"] == values["bands"]["0"]["ndcg10"]
        for key in ("ndcg10", "recall10", "mrr", "coverage10", "ndcg10_cold", "se"):
            assert 0 <= values[key] <= 1
    assert found["pipeline"] == found["methods"]["pipeline"]
    assert found["split"]["given"]
    assert found["split"]["window_days"] == 7
    assert found["remarks"] == []


def test_what_can_be_learned_is_measured_as_learned(found: dict[str, Any]) -> None:
    by = {name: values["ndcg10"] for name, values in found["methods"].items()}
    assert by["content"] > by["popularity"] + 0.1
    assert by["content"] > by["random"] + 0.2
    assert found["methods"]["random"]["coverage10"] > found["methods"]["popularity"]["coverage10"]


def test_the_pipeline_is_held_against_its_best_part_in_every_band(found: dict[str, Any]) -> None:
    bands = found["pipeline"]["best_part"]
    assert list(bands) == ["0", "1-19", "20+"]
    for band, values in bands.items():
        others = {n: v["bands"][band]["ndcg10"] for n, v in found["methods"].items() if n != "pipeline"}
        assert others[values["part"]] == max(others.values())
        gap = found["pipeline"]["bands"][band]["ndcg10"] - others[values["part"]]
        assert values["difference"] == pytest.approx(gap)
        assert values["within_one_se"] == (values["difference"] >= -values["se"])
    assert found["pipeline"]["within_one_se"] == all(v["within_one_se"] for v in bands.values())


def test_a_pipeline_that_ruins_newcomers_is_caught() -> None:
    class Ruinous(Content):
        name = "pipeline"

        def answer(self, week: Sequence[Question]) -> list[Floats]:
            honest = super().answer(week)
            return [s if q.known else -q.hits.astype(np.float32) for s, q in zip(honest, week, strict=True)]

    shipped = evaluate(*world(), [*baselines(), Ruinous()], seed=1).json()["pipeline"]
    assert not shipped["best_part"]["0"]["within_one_se"]
    assert shipped["best_part"]["20+"]["within_one_se"]
    assert not shipped["within_one_se"]


def test_a_method_that_gives_the_same_lists_is_no_part() -> None:
    shipped = evaluate(*world(), [*baselines(), Match("ranker"), Match()], seed=1).json()["pipeline"]
    assert "ranker" not in {values["part"] for values in shipped["best_part"].values()}


def test_ablations_stand_apart(found: dict[str, Any]) -> None:
    assert "without_content" not in found["methods"]
    values = found["ablations"]["without_content"]
    assert values["without"] == "what they did"
    assert values["adds"] == pytest.approx(found["pipeline"]["ndcg10"] - values["ndcg10"])
    assert values["adds"] > 3 * values["adds_se"] > 0


def test_ticked_interests_help_who_signs_up(found: dict[str, Any]) -> None:
    cold = found["signup_cold"]
    assert cold["interests"] == 3
    assert cold["kind"] == "c"
    assert list(cold["by_interests"]) == [str(ticks) for ticks in TICKS]
    assert cold["ndcg10"] == cold["by_interests"]["3"]["ndcg10"]
    assert cold["ndcg10"] > cold["by_interests"]["0"]["ndcg10"] + 0.1
    assert cold["ndcg10"] > cold["popularity"]["ndcg10"]
    assert 0 < cold["users"] <= 0.3 * 48 + 1
    assert 0 < cold["ticked"] <= 3


def test_sign_up_asks_about_newcomers_only_and_shows_no_past_of_theirs() -> None:
    log, split = world()
    method = Match()
    cold = judge_signup(log, split, method, seed=1)
    test = [q for week in method.weeks for q in week if q.start >= split.test]
    assert len(test) == len(TICKS) * cold["questions"]
    assert all(q.user >= len(log.users) and q.known == 0 for q in test)
    asked_before = {q.user for week in method.weeks for q in week if q.start < split.test}
    hidden = {int(name[1:4]) for name in (method._log.users[q.user] for q in test)}
    assert asked_before
    assert not asked_before & hidden


def test_training_windows_are_shown_before_test_windows() -> None:
    log, split = world()
    method = Match("a_method")
    evaluate(log, split, [method], seed=1)
    starts = [week[0].start for week in method.weeks]
    assert starts == sorted(starts)
    assert starts[0] < split.test <= starts[-1]
    assert all(len({q.start for q in week}) == 1 for week in method.weeks)


def test_the_same_seed_gives_the_same_report_but_for_the_seconds() -> None:
    def report(seed: int) -> str:
        made = evaluate(*world(), [Random(), Match()], seed=seed).json()
        for values in made["methods"].values():
            del values["seconds"]
        return json.dumps(made)

    assert report(1) == report(1)
    assert report(1) != report(2)


def test_too_many_questions_are_sampled_and_that_is_said() -> None:
    made = evaluate(*world(), [Content()], seed=1, most=60).json()
    assert made["counts"]["questions"] == made["counts"]["training_questions"] == 60
    assert len([remark for remark in made["remarks"] if remark.startswith("60 of ")]) == 2
    assert any("asks only 60 questions" in remark for remark in made["remarks"])
    all_of_it = evaluate(*world(), [Content()], seed=1).json()
    assert all_of_it["counts"]["questions"] >= FEW
    assert not any("asks only" in remark for remark in all_of_it["remarks"])
    whole = all_of_it["methods"]["content"]
    assert abs(made["methods"]["content"]["ndcg10"] - whole["ndcg10"]) < 5 * made["methods"]["content"]["se"]


def test_a_log_that_asks_no_question_gives_a_report_that_says_so() -> None:
    log, split = world()
    nobody = replace(
        log, event_user=log.event_user[:0], event_item=log.event_item[:0], event_time=log.event_time[:0]
    )
    made = evaluate(nobody, split, [*baselines(), Match()], seed=1).json()
    assert made["pipeline"]["ndcg10"] is None
    assert made["pipeline"]["within_one_se"]
    assert any("no question" in remark for remark in made["remarks"])
    assert made["signup_cold"]["ndcg10"] is None
    json.dumps(made, allow_nan=False)
    ElementTree.fromstring(chart(made, "empty"))


@pytest.mark.parametrize("late", [0, 20])
@pytest.mark.parametrize("chinese", [False, True])
def test_logs_of_other_kinds_are_judged(tmp_path: Path, late: int, chinese: bool) -> None:
    made = rows(weeks=60, users=24, per_week=20, late=late, chinese=chinese)
    if chinese:  # no tags, no authors: titles alone
        made = (
            made[0],
            [{k: v for k, v in row.items() if k in ("item", "ts", "title")} for row in made[1]],
            made[2],
        )
    log, split = read_folder(write(tmp_path, made))
    report = evaluate(log, split, [*baselines(), Match()], seed=1).json()
    assert any("No split.json" in remark for remark in report["remarks"])
    assert report["counts"]["questions"] > 10
    assert report["methods"]["content"]["ndcg10"] > report["methods"]["random"]["ndcg10"] + 0.05
    json.dumps(report, allow_nan=False)


def test_two_methods_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="one name"):
        evaluate(*world(), [Random(), Random()], seed=1)


def test_methods_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [Match(), Match("no_words", "the words")]
    monkeypatch.setattr(evaluating, "learned_methods", lambda: list(offered))

    def names(*wanted: str, ablations: bool = False) -> list[str]:
        return [method.name for method in chosen_methods(wanted, ablations=ablations)]

    plain = ["random", "newest", "popularity", "content"]
    assert names() == [*plain, "pipeline"]
    assert names(ablations=True) == [*plain, "pipeline", "no_words"]
    assert names("content", "random") == ["random", "content"]
    assert names("pipeline") == ["pipeline"]
    assert names("pipeline", ablations=True) == ["pipeline", "no_words"]
    with pytest.raises(UsageError, match=r"no method 'magic'; there are random, newest"):
        names("magic")


def test_without_the_training_extra_only_the_learned_methods_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluating, "find_spec", lambda name: None)
    assert [method.name for method in chosen_methods(["newest"])] == ["newest"]
    with pytest.raises(UsageError, match=r"mycity\[train\]"):
        chosen_methods([])


def test_the_chart_is_a_drawing_with_words(found: dict[str, Any]) -> None:
    drawn = chart(found, "<a> & b")
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("<a> & b" in (text or "") for text in texts)
    assert any("NDCG@10" in (text or "") for text in texts)
    for name in found["methods"]:
        assert any(text and text in label(name) for text in texts)
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(bars) == 1 + 4 + 4 * len(found["methods"])  # ground, legend, bars
    width = float(root.attrib["width"])
    for bar in bars[1:]:
        assert 0 <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width


def bare(value: float) -> dict[str, Any]:
    part = {"ndcg10": value, "se": 0.0}
    return {
        "methods": {"newest": part | {"bands": dict.fromkeys(("0", "1-19", "20+"), part)}},
        "split": {"test_from": "2026-01-01", "test_to": "2026-02-01"},
        "counts": {"questions": 500, "candidates": 20}, "seed": 0,
    }  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 0.004, 0.037, 0.11, 0.21, 0.5, 1.0])
def test_the_axis_ends_at_the_largest_figure(value: float) -> None:
    root = ElementTree.fromstring(chart(bare(value), "invented" * 20))
    space = "{http://www.w3.org/2000/svg}"
    texts = [(one.text or "", one.attrib) for one in root.iter(f"{space}text")]
    assert not any("invented" in text for text, look in texts if look["font-size"] == "18")
    assert all(len(text) < 150 for text, _ in texts)
    ticks = [text for text, look in texts if look["text-anchor"] == "middle" and "N" not in text]
    assert 5 <= len(ticks) <= 11 and len(set(ticks)) == len(ticks)
    assert max(float(text) for text in ticks) <= (value or 0.1)
    bars = [one for one in root.iter(f"{space}rect") if one.attrib.get("x") == "190"]
    assert all((float(one.attrib["width"]) == 660) == (value > 0) for one in bars) and len(bars) == 4


def test_published_figures_of_the_real_log() -> None:
    """The protocol is the published one: its plain methods come out where they were measured."""
    import os

    root = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("MYCITY_TEST_DATA", root)).resolve() / "eval" / "reviews"
    if not (folder / "split.json").exists():
        pytest.skip(f"the evaluation folder is absent ({folder}); set MYCITY_TEST_DATA to its grandparent")
    log, split = read_folder(folder)
    made = evaluate(log, split, baselines(), seed=0).json()
    assert (made["counts"]["questions"], made["counts"]["candidates"]) == (1160, 4205)
    assert [b["n"] for b in made["methods"]["random"]["bands"].values()] == [40, 157, 963]
    expected = {
        "newest": (0.145, 0.005),
        "popularity": (0.213, 0.01),
        "content": (0.594, 0.01),
        "random": (0.124, 0.015),
    }
    for name, (figure, tolerance) in expected.items():
        assert made["methods"][name]["ndcg10"] == pytest.approx(figure, abs=tolerance), name
    assert made["methods"]["content"]["coverage10"] == pytest.approx(0.76, abs=0.02)
    assert Popularity.name in made["methods"]
