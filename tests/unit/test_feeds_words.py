"""Folding and cutting: fast ways give exactly what the plain ways give."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import opencc
import rjieba
from hypothesis import given
from hypothesis import strategies as st

from feeds.catalogue.words import cut, fold

_SIMPLER = opencc.OpenCC("t2s")
# What joins its neighbours, changes alone, or stays: Hangul, marks, ligatures, widths, variants.
_ODD = "가ᄀ각ᆨﾞカé\u0301e㎡①ﷺ…㐀龦𠀀 \u200b\u3000Ａ１。，“”‘’（）乾後裏àéḍ̇ςΣİ"
TEXTS = st.one_of(st.text(max_size=80), st.text(alphabet="公积金提取電梯補貼abc12.'-\n " + _ODD, max_size=80))


def plain_fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).lower()
    return _SIMPLER.convert(folded) if re.search("[㐀-鿿]", folded) else folded


def plain_cut(text: str) -> list[str]:
    words: list[str] = []
    for run in re.findall(r"[0-9a-z]+(?:[.'-][0-9a-z]+)*|[㐀-鿿]+", plain_fold(text)):
        words.extend(rjieba.cut_for_search(run, True) if re.match("[㐀-鿿]", run) else [run])
    return words


@given(TEXTS)
def test_folding_is_nfkc_lower_case_and_simplified(text: str) -> None:
    assert fold(text) == plain_fold(text)


@given(TEXTS)
def test_cutting_all_runs_at_once_is_cutting_them_one_by_one(text: str) -> None:
    assert cut(text) == plain_cut(text)


def test_real_notices_are_cut_as_before(real_data: Path) -> None:
    lines = (real_data / "notices.jsonl").read_text(encoding="utf-8").split("\n")
    for row in list(map(json.loads, filter(None, lines)))[::10]:
        text = f"{row['title']} {row['body'] or ''}"
        assert fold(text) == plain_fold(text)
        assert cut(text) == plain_cut(text)
