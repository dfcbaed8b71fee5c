"""Reading times of an evaluation folder, and cutting time where the folder does not say how. Pure.

Called by ``replay.files`` and ``replay.own``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np

from feeds.kernel.errors import UsageError
from recommender.log import DAY, Split
from recommender.types import Ints

#: Where time is cut when nobody says: after so much of the events vocabularies are frozen, the test begins.
QUANTILES = (0.45, 0.7)
#: Lengths of a window that may be chosen, in days.
LENGTHS = (0.25, 1, 7, 28, 91)
#: A window should hold so many items, and there should be so many windows.
ITEMS, WINDOWS = 30, 40

_MOMENTS = ("from", "vocabulary_frozen", "test_from", "test_to")
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def seconds(text: str | None) -> int | None:
    """Seconds since 1970 of a number (seconds, or finer units by size), a date or an ISO instant.

    Eight digits that make a date are one. None for what cannot be read.
    """
    text = (text or "").strip()
    if not _DATE.fullmatch(text):
        try:
            number = float(text)
            while 1e11 < abs(number) < 1e20:  # milliseconds, microseconds, nanoseconds
                number /= 1000
            return int(number) if abs(number) < 1e11 else None
        except (ValueError, OverflowError):
            pass
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def given(facts: Any, times: Ints, name: str) -> Split:
    """The split that a ``split.json`` describes.

    Only ``test_from`` is needed: ``from`` and ``test_to`` default to the first and last item,
    ``vocabulary_frozen`` to two thirds of the way to the test, ``window_days`` to 7.

    Raises:
        UsageError: If a value cannot be read or they are not in order.
    """
    try:
        moments = {key: seconds(str(facts[key])) for key in _MOMENTS if key in facts}
        window = int(float(facts.get("window_days", 7)) * DAY)
        if "test_from" not in moments or None in moments.values():
            raise ValueError("test_from is missing or a time cannot be read")
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{name} cannot be read ({error}); docs/evaluation.md describes it.") from error
    test = moments["test_from"] or 0
    start = moments.get("from")
    end = moments.get("test_to")
    start = (int(times[0]) if len(times) else test) if start is None else start
    end = (int(times[-1]) + 1 if len(times) else test) if end is None else end
    frozen = moments.get("vocabulary_frozen")
    frozen = start + (test - start) * 2 // 3 if frozen is None else frozen
    if not start <= frozen < test < end or window < 60:
        raise UsageError(f"{name}: from <= vocabulary_frozen < test_from < test_to does not hold.")
    return Split(start, frozen, test, end, window, True)


def guessed(published: Ints, events: Ints, lags: Ints) -> Split:
    """Cut time at quantiles of the events' times.

    Args:
        published: Times of the items, sorted, at least one.
        events: Times of the events, at least one.
        lags: Seconds from an item's publication to each event on it.

    Returns:
        A split with windows of a week, shorter where there would be too few of them, longer where a window
        would hold too few items or miss most events because people act late.

    Raises:
        UsageError: If everything happened at one moment.
    """
    first, last = min(int(published[0]), int(events.min())), int(events.max()) + 1
    frozen, test = (int(value) for value in np.quantile(events, QUANTILES))
    frozen, test = max(frozen, first), max(test, frozen + 1)
    if not frozen < test < last:
        raise UsageError(
            "All interactions lie at one moment or nearly so; there is no earlier and later to judge by."
        )
    span = last - frozen
    length = next((days for days in (7, 1) if span >= WINDOWS * days * DAY), LENGTHS[0])
    after = int(((published >= frozen) & (published < last)).sum())
    late = float(np.median(lags))
    for days in LENGTHS[LENGTHS.index(length) :]:
        if after * days * DAY >= ITEMS * span and late * 2 <= days * DAY:
            length = days
            break
    unit = int(
        min(length, 1) * DAY
    )  # windows begin at midnight, so that a day's notices and deeds stay together
    early = max(frozen // unit * unit, first)
    if early < test // unit * unit:
        frozen, test = early, test // unit * unit
    return Split(first, frozen, test, last, int(length * DAY), False)
