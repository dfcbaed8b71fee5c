"""Keeps what feeds are assembled from: facts of notices, and their entries rendered in each format.

An entry is kept once a notice, format and language, without anybody's reasons, until the notice changes;
bounded in bytes. Called by ``api.feed_build``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from api.views import entry_views
from api.wiring import Services
from delivery.feed_writer import Format, Parts, entry_parts
from delivery.types import FeedView
from feeds.catalogue.feed_reading import Fact

_BYTES = 96 * 1024 * 1024
_A_NOTICE = 600  # bytes that a notice takes beside its parts, about
Form = tuple[Format, str, bool]  # format, language, discreet


@dataclass(slots=True)
class _Kept:
    fact: Fact | None = None
    parts: dict[Form, Parts] = field(default_factory=dict)
    size: int = _A_NOTICE


class Entries:
    """Facts and rendered entries of notices, least recently used first out. Safe in threads."""

    def __init__(self, services: Services, limit: int = _BYTES) -> None:
        self._services, self._limit, self._size = services, limit, 0
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._forgotten = 0
        self._lock = threading.Lock()

    def forget(self, ids: Collection[int] | None) -> None:
        """Drop what is kept of notices; ``None`` drops everything."""
        with self._lock:
            self._forgotten += 1
            if ids is None:
                self._kept.clear()
                self._size = 0
                return
            for number in ids:
                self._drop(number)

    def facts(self, ids: Sequence[int]) -> dict[int, Fact]:
        """Return the facts of those notices that exist."""
        found: dict[int, Fact] = {}
        with self._lock:
            before = self._forgotten
            for number in ids:
                kept = self._kept.get(number)
                if kept is not None and kept.fact is not None:
                    found[number] = kept.fact
        if missing := [number for number in ids if number not in found]:
            read = self._services.notices.facts(missing)
            found |= read
            with self._lock:
                # What changed while it was read may be older than what was just forgotten.
                for fact in read.values() if before == self._forgotten else ():
                    self._slot(fact.notice_id).fact = fact
                self._trim()
        return found

    def parts(self, ids: Sequence[int], form: Form, head: FeedView) -> dict[int, Parts]:
        """Return the rendered entries of those notices that exist.

        Args:
            ids: In any order.
            form: Format, language, and whether sensitive matters are worded discreetly.
            head: Of a feed of that language; gives the time zone and the page that explains.
        """
        found: dict[int, Parts] = {}
        with self._lock:
            before = self._forgotten
            for number in ids:
                kept = self._kept.get(number)
                if kept is not None and form in kept.parts:
                    found[number] = kept.parts[form]
                    self._kept.move_to_end(number)
        if missing := [number for number in ids if number not in found]:
            made = self._render(missing, form, head)
            found |= made
            with self._lock:
                if before == self._forgotten:
                    self._keep(made, form)
        return found

    def _render(self, ids: Iterable[int], form: Form, head: FeedView) -> dict[int, Parts]:
        fmt, lang, discreet = form
        notices = list(self._services.notices.many(ids).values())
        views = entry_views(self._services, notices, lang=lang, discreet=discreet)
        return {number: entry_parts(fmt, view, head) for number, view in views.items()}

    def _keep(self, made: dict[int, Parts], form: Form) -> None:
        for number, parts in made.items():
            slot, size = self._slot(number), sum(map(len, parts))
            if form not in slot.parts:
                slot.parts[form] = parts
                slot.size += size
                self._size += size
        self._trim()

    def _trim(self) -> None:
        while self._size > self._limit and self._kept:
            self._size -= self._kept.popitem(last=False)[1].size

    def _slot(self, number: int) -> _Kept:
        slot = self._kept.get(number)
        if slot is None:
            slot = self._kept[number] = _Kept()
            self._size += slot.size
        return slot

    def _drop(self, number: int) -> None:
        kept = self._kept.pop(number, None)
        if kept is not None:
            self._size -= kept.size
