"""Put what was chosen into editions: kinds, chances and reasons in arrays, packed for a whole batch. Pure.

Decides nothing. Called by ``select``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import numpy as np

from profiles.bulk import PickTable, pack_many
from profiles.editions import NewEdition
from profiles.packing import KINDS, PackedPicks, pack_ids
from profiles.shelves import Desk
from profiles.types import EditionKind, Pick, Profile, Reason
from recommender.blend import Prepared
from recommender.cells import Cells
from recommender.explain import Said
from recommender.policy import Arranged, reworded
from recommender.types import Ints, Mask

_NEW, _MANDATORY, _EXPLORED = (KINDS.index(kind) for kind in ("new", "mandatory", "explored"))
_EMERGENCY = 2


def table(picks: Cells, arranged: Arranged, control: Mask, said: Said) -> PickTable:
    """Put picks into arrays; no score is kept of somebody who switched personalisation off."""
    counts = np.array([len(one.columns) for one in arranged.ranked], dtype=np.int64)
    by_rule = np.array([one.by_rule for one in arranged.ranked], dtype=np.int64)
    begins = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    place = np.arange(picks.rows.size) - np.repeat(begins[:-1], np.diff(begins))
    ruled = place < by_rule[picks.rows]
    tried, chances = np.zeros(ruled.size, dtype=bool), np.ones(ruled.size, dtype=np.float32)
    last = np.cumsum(counts)[list(arranged.chances)] - 1
    tried[last], chances[last] = True, list(arranged.chances.values())
    said = reworded(said, tried, control[picks.rows] & ~ruled, picks.ready.statements)
    return PickTable(
        editions=begins,
        ids=picks.ready.pool.ids[picks.columns],
        revisions=picks.ready.revisions[picks.columns],
        kinds=np.select([ruled, tried], [_MANDATORY, _EXPLORED], _NEW),
        scores=np.where(picks.asked.said.personalised[picks.rows], picks.total, np.float32(0)),
        chances=chances,
        reasons=said.starts,
        said=said.said,
        worth=said.worth,
    )


def editions(
    profiles: Sequence[Profile], rows: Sequence[int], desk: Desk, filled: PickTable, columns: Ints,
    arranged: Arranged, ready: Prepared, now: datetime,
) -> list[NewEdition]:  # fmt: skip
    """Pack every profile's picks; they become objects again only where somebody looks at them.

    Editions with reminders are packed by the ledger, which has to look what lies on the shelf already.
    """
    picks: dict[int, Sequence[Pick]] = {}
    if rows:
        packed = pack_many(filled, [ready.heads[column] for column in columns.tolist()], ready.statements)
        free = ready.pool.rank[columns] == _EMERGENCY
        slots = np.add.reduceat(~free, filled.editions[:-1]).tolist()
        ids, begins = filled.ids.tolist(), filled.editions.tolist()
        for n, row in enumerate(rows):
            a, b = begins[n], begins[n + 1]
            picks[row] = PackedPicks(
                packed[n], pack_ids(ids[a:b]), b - a, slots[n], partial(_picks, filled, a, b, ready)
            )
    for row, told in arranged.reminders.items():
        own, ruled = tuple(picks.get(row, ())), arranged.ranked[row].by_rule
        picks[row] = (*own[:ruled], *told, *own[ruled:])
    made = []
    for row in sorted(picks) if arranged.reminders else rows:
        version = desk.shelves[row].version
        kind: EditionKind = "daily" if version else "welcome"
        made.append(NewEdition(profiles[row].id, kind, picks[row], now, version))
    return made


def _picks(table: PickTable, first: int, end: int, ready: Prepared) -> tuple[Pick, ...]:
    """Some picks of a table as objects."""
    words = ready.statements.all
    made = []
    for n in range(first, end):
        reasons = tuple(
            Reason(*words[int(table.said[line])], float(table.worth[line]))
            for line in range(int(table.reasons[n]), int(table.reasons[n + 1]))
        )
        made.append(
            Pick(
                int(table.ids[n]), int(table.revisions[n]), KINDS[int(table.kinds[n])], reasons,
                float(table.scores[n]), float(table.chances[n]),
            )
        )  # fmt: skip
    return tuple(made)
