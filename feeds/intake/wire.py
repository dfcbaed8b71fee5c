"""Prepared answers as bytes, for the line between the processes that read and the one that stores.

Pickle takes apart the objects of a row one by one, in Python; here a row is plain values in the order of its
fields, and pickle sees nothing but tuples, numbers and texts. Only for the two ends of one pipe on one
machine: what is read is trusted, and nothing is kept. Called by ``api.jobs.workshop``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from feeds.catalogue.identity import Identity
from feeds.catalogue.notices import NoticeContent
from feeds.catalogue.tagging import Tag
from feeds.intake.normalise import Declared
from feeds.intake.prepare import Prepared, Row

Outcome = Prepared | Exception


def pack(outcomes: Sequence[Outcome]) -> bytes:
    """Turn what came of some answers into bytes."""
    plain = [
        (replace(one, rows=()), [_row(row) for row in one.rows]) if isinstance(one, Prepared) else one
        for one in outcomes
    ]
    return pickle.dumps(plain, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> list[Outcome]:
    """Undo :func:`pack`; the bytes come from our own process."""
    return [
        replace(one[0], rows=tuple(_made(row) for row in one[1])) if isinstance(one, tuple) else one
        for one in pickle.loads(data)  # noqa: S301
    ]


def _values(of: type) -> Callable[[Any], tuple[Any, ...]]:
    """Read all fields of an object, in the order in which its class takes them."""
    return attrgetter(*(one.name for one in fields(of) if one.init))


_row_values, _content, _declared = _values(Row), _values(NoticeContent), _values(Declared)
_tag, _identity = _values(Tag), _values(Identity)
_PLACES = {one.name: place for place, one in enumerate(fields(Row))}
_HASH = _PLACES["hash"]
_CONTENT, _DECLARED, _TAGS = _PLACES["content"], _PLACES["declared"], _PLACES["tags"]
_WORDS, _IDENTITY = _PLACES["words"], _PLACES["identity"]
_NOTHING = Declared()


def _row(row: Row) -> list[Any]:
    values = list(_row_values(row))
    values[_CONTENT] = _content(row.content)
    values[_DECLARED] = None if row.declared == _NOTHING else _declared(row.declared)
    values[_TAGS] = [_tag(tag) for tag in row.tags]
    if row.words is not None:  # one text is taken apart faster than a hundred are read; no word has a space
        values[_WORDS] = " ".join(row.words)
    if row.identity is not None:
        values[_IDENTITY] = _identity(row.identity)
    return values


def _made(values: list[Any]) -> Row:
    content = NoticeContent(*values[_CONTENT])
    declared, words, identity = values[_DECLARED], values[_WORDS], values[_IDENTITY]
    object.__setattr__(content, "_hash", values[_HASH])  # what it remembers of itself once it was asked
    values[_CONTENT] = content
    values[_DECLARED] = _NOTHING if declared is None else Declared(*declared)
    values[_TAGS] = tuple([Tag(*tag) for tag in values[_TAGS]])
    if words is not None:
        values[_WORDS] = tuple(words.split(" ")) if words else ()
    if identity is not None:
        values[_IDENTITY] = Identity(*identity)
    return Row(*values)
