"""What benchmarks share: rounds, medians, a scratch installation of the sample city."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from api.ops.migrate import migrate
from api.settings import read_settings
from api.wiring import Services, build
from feeds.kernel.time import FixedClock

NOW = datetime(2026, 10, 12, 10, 0, tzinfo=UTC)


def seconds(work: Callable[[], Any]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rounded(values: list[float], digits: int = 3) -> float:
    """Return the median."""
    return round(statistics.median(values), digits)


def sample_notices() -> list[dict[str, Any]]:
    """Return the sample city's notices."""
    text = files("feeds.cities").joinpath("shili", "notices.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


@contextmanager
def scratch(*, load: bool = False) -> Iterator[Services]:
    """Open an empty installation of the sample city in a temporary folder.

    Args:
        load: Also import the city's notices.
    """
    with tempfile.TemporaryDirectory() as folder:
        services = build(read_settings({}, home=Path(folder), city="shili"), clock=FixedClock(NOW), demo=True)
        migrate(services.database)
        if load:
            with files("feeds.cities").joinpath("shili", "notices.jsonl") as path:  # type: ignore[attr-defined]
                services.ingestor.import_file(Path(str(path)))
        try:
            yield services
        finally:
            services.close()
