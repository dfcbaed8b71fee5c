"""Deciding one new entry among 1,000,000 stored notices, near-duplicate search on, against a bare look-up.

Decide: its guid is looked up, its identity is worked out, notices that share a key are found and
judged. Bare: the guid is looked up by its index. Both through the store, interleaved, on one SQLite
database, with entries that are new, formulaic, or said before by another source.
``over_bare_lookup``: p95 of deciding over p95 of the look-up; ``p95_ms_at_1m``: p95 of deciding.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from api.ops.migrate import migrate
from bench.tools import NOW, sample_notices
from feeds.catalogue.identity import Identity, identity_of, likeness
from feeds.catalogue.notices import NoticeContent
from feeds.catalogue.store import NoticeStore
from feeds.intake.decide import decide
from feeds.kernel.db import Database
from feeds.kernel.time import to_micros

NOTICES = 1_000_000
ENTRIES = 400  # decided in one round
_BASE = 20_000  # notices that are really invented; the others are as many again, under other keys
_SOURCES = 200
_DISTRICTS = ("东示", "西示", "南示", "北示", "示河", "示山", "示湖", "示港", "示田", "示林")
_ISSUES = ("停水", "停电", "道路施工", "噪声", "招生", "体检", "疫苗接种", "垃圾清运", "公交改线", "停车")
_BOILERPLATE = (
    "特此公告。如有疑问，请在工作时间与本单位办公室联系，本公告自发布之日起施行，由发布单位负责解释。" * 4
)


@dataclass(frozen=True)
class Entry:
    """An entry to decide, as the intake has it before it asks the store."""

    source_id: int
    guid: str
    content: NoticeContent
    text: str


def run(repeat: int, notices: int = NOTICES) -> dict[str, Any]:
    """Build the database once, then measure in ``repeat`` rounds.

    Args:
        repeat: Rounds of 400 entries.
        notices: How many are stored.
    """
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'decide.db'}")
        try:
            began = time.perf_counter()
            base = [_invented(n) for n in range(min(notices, _BASE))]
            _build(database, base, notices)
            built = time.perf_counter() - began
            spent = _measure(NoticeStore(database), base, repeat)
            size = (Path(folder) / "decide.db").stat().st_size
        finally:
            database.close()
    bare, full = spent["bare"], spent["decide"]
    return {
        "over_bare_lookup": round(_p(95, full) / _p(95, bare), 2),
        "over_bare_median": round(_p(95, full) / _p(50, bare), 2),
        "p95_ms_at_1m" if notices == NOTICES else "p95_ms": round(_p(95, full), 3),
        "median_ms": round(_p(50, full), 3),
        "bare_p95_ms": round(_p(95, bare), 3),
        "bare_median_ms": round(_p(50, bare), 3),
        "identity_median_ms": round(_p(50, spent["identity"]), 3),
        "notices": notices,
        "alike_share": round(len(spent["alike"]) / len(full), 2),
        "database_mb": size // 2**20,
        "built_in_s": round(built),
    }


def _measure(store: NoticeStore, base: list[Entry], repeat: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {"bare": [], "decide": [], "identity": [], "alike": []}
    chosen = random.Random(7)
    for entry in [_entry(base, chosen) for _ in range(50)]:
        _decide(store, entry)  # statements are compiled, the characters of the city are known
    for _ in range(repeat):
        for entry in [_entry(base, chosen) for _ in range(ENTRIES)]:
            spent["bare"].append(_ms(lambda entry=entry: store.known(entry.source_id, [entry.guid])))  # type: ignore[misc]
            found: list[Any] = []
            spent["decide"].append(_ms(lambda entry=entry, found=found: found.append(_decide(store, entry))))  # type: ignore[misc]
            spent["identity"].append(_ms(lambda entry=entry: identity_of(entry.content, entry.text)))  # type: ignore[misc]
            if found[0] is not None:
                spent["alike"].append(1)
    return spent


def _decide(store: NoticeStore, entry: Entry) -> Any:
    key = store.known(entry.source_id, [entry.guid]).get(entry.guid)
    decide(key, entry.content.hash())
    mine = identity_of(entry.content, entry.text)
    [others] = store.look_alikes([mine], not_source=entry.source_id)
    return likeness(mine, entry.source_id, others)


def _entry(base: list[Entry], chosen: random.Random) -> Entry:
    """A third is said before by another source, a third is formulaic, a third is new."""
    old = base[chosen.randrange(len(base))]
    number = chosen.randrange(10**9)
    # A content of its own: what is remembered of another one must not be found ready.
    content = replace(old.content, url=f"https://other.example/{number}")
    kind = chosen.randrange(3)
    text = old.text
    if kind == 0:
        text = f"发布时间：2026-10-12 来源：示例网\n{old.text}"
    elif kind == 1:
        content = replace(
            content, title=f"{old.content.title}（第{number}号）", doc_no=f"示告〔2026〕{number}号"
        )
        text = old.text.replace("0", str(number))
    else:
        letters = list(old.text)
        chosen.shuffle(letters)
        content, text = (
            replace(content, title=f"{number}{old.content.title[::-1]}", doc_no=""),
            "".join(letters),
        )
    return Entry(_SOURCES + 1, f"new-{number}", content, text)


def _invented(n: int) -> Entry:
    """A notice as districts write them: few words, many numbers, one closing formula."""
    chosen = random.Random(n)
    notices = _samples()
    district, issue = chosen.choice(_DISTRICTS), chosen.choice(_ISSUES)
    # One in ten is a daily notice: the same title again and again.
    title = f"【示例】{district}区{issue}情况每日公告"
    if n % 10:
        title = (
            f"【示例】关于{district}区{chosen.randrange(1, 400)}号地块周边{issue}有关事项的公告（第{n}号）"
        )
    body = notices[n % len(notices)]["body"] if n % 8 == 0 else ""
    road = "".join(chosen.choice("安宁和平康乐新华长春东风胜利人民建设") for _ in range(30))
    text = (
        f"因{road}{issue}，{district}区自{chosen.randrange(1, 29)}日{chosen.randrange(24)}时起影响"
        f"{chosen.randrange(10, 9000)}户，涉及{road[::-1]}等路段，请提前安排。{body}{_BOILERPLATE}"
    )
    content = NoticeContent(
        title=title,
        body=f"<p>{text}</p>",
        agency=f"示例市{district}区人民政府",
        doc_no=f"{district}告〔2026〕{n}号" if n % 2 else "",
        url=f"https://bench.example/{n}.html",
        published=NOW - timedelta(hours=n % (24 * 365)),
    )
    return Entry(n % _SOURCES + 1, f"g-{n}", content, text)


_SAMPLES: list[dict[str, Any]] = []


def _samples() -> list[dict[str, Any]]:
    if not _SAMPLES:
        _SAMPLES.extend(sample_notices())
    return _SAMPLES


def _build(database: Database, base: list[Entry], notices: int) -> None:
    """Store by bulk SQL: rows in the order of their keys, indexes last."""
    migrate(database)
    identities = []
    for at, entry in enumerate(base):
        identities.append(identity_of(entry.content, entry.text))
        if at % 2000 == 0:
            _tell(f"inventing {at}")
    raw = database.engine.raw_connection()
    try:
        cursor = raw.cursor()
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000", "foreign_keys=OFF"):
            cursor.execute(f"PRAGMA {pragma}")
        names = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN {}"
        )
        indexes = cursor.execute(names.format("('notice', 'notice_key')")).fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        cursor.execute("BEGIN")
        _insert_notices(cursor, base, identities, notices)
        _insert_keys(cursor, identities, notices)
        for _, statement in indexes:
            _tell("indexing")
            cursor.execute(statement)
        cursor.execute("COMMIT")
        cursor.execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()
        database.engine.dispose()
    _tell("")


def _insert_notices(cursor: Any, base: list[Entry], identities: list[Identity], notices: int) -> None:
    names = (
        "id, source_id, guid, state, revision, lang, title, body, details, content_hash, upstream_hash,"
        " agency_slug, doc_key, kind, level, place, priority, archive, published, created_at, released_at,"
        " changed_at, fresh_at, material_number, reason"
    )
    marks = ",".join("?" * 25)
    at = to_micros(NOW)
    for start in range(0, notices, len(base)):
        _tell(f"storing {start}")
        rows, prints = [], []
        for n in range(min(len(base), notices - start)):
            entry, one, number = base[n], identities[n], start + n + 1
            content = entry.content
            published = to_micros(content.published or NOW)
            guid = entry.guid if start == 0 else f"{entry.guid}-{start}"
            rows.append((
                number, entry.source_id, guid, "released", 1, "zh-Hans", content.title, content.body,
                '{"title":"示例"}', f"{number:032x}", f"{number:032x}", "", content.doc_no, "", "city",
                None, "normal", 0, published, at, at, at, published, number, "",
            ))  # fmt: skip
            prints.append((
                number, entry.source_id, _salted_one(one.title_key, start), _salted_one(one.doc_key, start),
                one.agency_key, _salted_one(one.url_key, start), one.day, one.simhash, one.size, one.lang,
            ))  # fmt: skip
        cursor.executemany(f"INSERT INTO notice ({names}) VALUES ({marks})", rows)
        cursor.executemany(f"INSERT INTO notice_print VALUES ({','.join('?' * 10)})", prints)


def _insert_keys(cursor: Any, identities: list[Identity], notices: int) -> None:
    """Each further batch has keys of its own, but for one notice in twenty: boilerplate is everywhere."""
    flat = np.array([key for one in identities for key in one.keys], dtype=np.uint64)
    owner = np.repeat(np.arange(len(identities)), [len(one.keys) for one in identities])
    keys, ids = [], []
    for start in range(0, notices, len(identities)):
        fits = owner + start < notices
        salted = np.where(owner % 20 == 0, flat, _salted(flat, start))
        keys.append(salted[fits])
        ids.append((owner + start + 1)[fits])
    all_keys, all_ids = np.concatenate(keys), np.concatenate(ids)
    order = np.lexsort((all_ids, all_keys))
    for part in np.array_split(order, max(len(order) // 200_000, 1)):
        _tell("keys")
        rows = zip(all_keys[part].tolist(), all_ids[part].tolist(), strict=True)
        cursor.executemany("INSERT INTO notice_key (key, notice_id) VALUES (?, ?)", rows)


def _salted(keys: Any, salt: int) -> Any:
    if not salt:
        return keys
    mixed = (keys ^ np.uint64(salt * 0x9E3779B97F4A7C15 & (2**64 - 1))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(29))) >> np.uint64(1)


def _salted_one(key: int, salt: int) -> int:
    return key ^ salt if key else 0


def _ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _p(percent: int, values: list[float]) -> float:
    return float(np.percentile(values, percent))


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
