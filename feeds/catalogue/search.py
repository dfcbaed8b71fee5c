"""Full-text search over released notices, with the same results on both databases.

Words are cut once when a notice is written. FTS5 and PostgreSQL's ``simple`` configuration only
*find* rows; ranking is ours (BM25 from the stored words), so order does not depend on the database.
Called by the search page, the API and search feeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, TextClause, bindparam, func, select, text

from feeds.catalogue.notices import PUBLIC_STATES, Notice
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tables import notice, notice_words
from feeds.catalogue.words import cut, doc_key
from feeds.kernel.db import Database

_FOUND_MOST = 2000
_K1, _B = 1.2, 0.75  # the usual BM25 constants (Robertson and Zaragoza 2009)
_FTS5 = "notice_words.notice_id IN (SELECT rowid FROM notice_fts WHERE notice_fts MATCH :query)"
_TSQUERY = "to_tsvector('simple', notice_words.words) @@ to_tsquery('simple', :query)"


class Search:
    """Finds and ranks notices."""

    def __init__(self, database: Database, notices: NoticeStore) -> None:
        self._db = database
        self._notices = notices

    def find(self, query: str, *, limit: int = 30) -> list[tuple[Notice, float]]:
        """Return notices holding all words of ``query`` (any of them, if none holds all), best first.

        A document number finds its notice whatever brackets it is written with. Ties go to the
        newer, then to the larger id.

        Args:
            query: What a person typed; operators have no meaning.
            limit: Most results, 1 to 200.

        Returns:
            Pairs of notice and BM25 score (no unit, higher is better). Empty for an empty query.
        """
        words = list(dict.fromkeys(cut(query)))[:32]
        if not words:
            return []
        with self._db.read() as connection:
            numbered = _by_doc_no(connection, query)
            rows = _rows(connection, words, "all") or (
                _rows(connection, words, "any") if len(words) > 1 else []
            )
            scores = _bm25(connection, words, rows) | dict.fromkeys(numbered, math.inf)
        found = self._notices.many(scores)
        shown = sorted(found.values(), key=lambda n: (scores[n.id], n.fresh_at, n.id), reverse=True)
        return [(item, scores[item.id]) for item in shown[:limit]]


def _by_doc_no(connection: Connection, query: str) -> list[int]:
    key = doc_key(query.strip())
    if len(key) < 4:
        return []
    return list(
        connection.scalars(
            select(notice.c.id).where(notice.c.doc_key == key, notice.c.state.in_(PUBLIC_STATES))
        )
    )


def _rows(connection: Connection, words: Sequence[str], mode: str) -> list[tuple[int, Counter[str], int]]:
    """Find rows by the database's index, newest first, and count the query's words in them."""
    statement = (
        select(notice_words.c.notice_id, notice_words.c.words, notice_words.c.length)
        .join(notice, notice.c.id == notice_words.c.notice_id)
        .where(notice.c.state.in_(PUBLIC_STATES), _match(connection, words, mode))
        .order_by(notice.c.fresh_at.desc(), notice.c.id.desc())
        .limit(_FOUND_MOST)
    )
    wanted = set(words)
    rows = []
    for notice_id, stored, length in connection.execute(statement):
        counts = Counter(word for word in stored.split(" ") if word in wanted)
        # Each database splits words such as "a.b" its own way; ours decides.
        if counts and (mode == "any" or len(counts) == len(wanted)):
            rows.append((notice_id, counts, length))
    return rows


def _match(connection: Connection, words: Sequence[str], mode: str) -> TextClause:
    if connection.dialect.name == "postgresql":
        quoted = ("'" + word.replace("'", "''") + "'" for word in words)
        query = (" & " if mode == "all" else " | ").join(quoted)
        return text(_TSQUERY).bindparams(bindparam("query", query))
    quoted = ('"' + word.replace('"', '""') + '"' for word in words)
    return text(_FTS5).bindparams(bindparam("query", (" AND " if mode == "all" else " OR ").join(quoted)))


def _bm25(
    connection: Connection, words: Sequence[str], rows: Sequence[tuple[int, Counter[str], int]]
) -> dict[int, float]:
    if not rows:
        return {}
    total, mean = connection.execute(select(func.count(), func.avg(notice_words.c.length))).one()
    holding = {word: sum(word in counts for _, counts, _ in rows) for word in words}
    idf = {word: math.log(1 + (total - n + 0.5) / (n + 0.5)) for word, n in holding.items()}
    average = float(mean or 1)
    return {
        notice_id: sum(
            idf[word] * n * (_K1 + 1) / (n + _K1 * (1 - _B + _B * length / average))
            for word, n in counts.items()
        )
        for notice_id, counts, length in rows
    }
