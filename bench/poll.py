"""Polls 1,000 sources that answer after 200 ms, 64 at a time: against the ideal, with its memory, and again.

The sources are real servers on loopback addresses of their own (127.0.x.y, named in the allow-list), in a
process of their own, with ETags and five invented notices each. A round is all an installation does: claim,
ask, parse, normalise, tag, recognise, store, note. The engine is warm: it has polled a few others before.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

from api.jobs.polling import poll, poll_due
from api.jobs.workshop import Workshop
from api.ops.migrate import migrate
from api.settings import read_settings
from api.wiring import Services, build
from bench.poll_server import address_of
from bench.tools import NOW, rounded, sample_notices, seconds
from feeds.kernel.time import FixedClock

SOURCES = 1000
AT_A_TIME = 64  # the default of MYCITY_POLL_WORKERS
ENTRIES = 5
DELAY_S = 0.2
WARM_UP = 8  # sources asked before the first round, so that every statement has been used once


def run(
    repeat: int, *, sources: int = SOURCES, entries: int = ENTRIES, delay_s: float = DELAY_S
) -> dict[str, float]:
    """Run rounds over fresh installations.

    Returns:
        ``round_over_ideal``: seconds of a first round (everything is new) over sources × delay / 64;
        ``peak_mb``: most memory (PSS, so that shared pages count once) of this process and its reading
        processes, the servers left out; ``second_round_304_share``: share of the sources that a second
        round found unchanged, by the servers' own count.
    """
    ideal = sources * delay_s / AT_A_TIME
    found: dict[str, list[float]] = {"first": [], "second": [], "peak": [], "share": []}
    with serving(sources + WARM_UP, entries, delay_s) as server:
        for _ in range(min(repeat, 3)):
            with installation(sources + WARM_UP, server.port) as services, Workshop("shili") as workshop:
                workshop.warm()
                poll(services, services.sources.list()[sources:], workshop=workshop)
                with watched(workshop) as memory:
                    found["first"].append(round_s(services, workshop, sources, sources * entries) / ideal)
                    before = server.unchanged()
                    clock = services.clock
                    assert isinstance(clock, FixedClock)
                    clock.advance(timedelta(hours=2))
                    asked = sources + WARM_UP
                    found["second"].append(round_s(services, workshop, asked, 0) / ideal)
                found["share"].append((server.unchanged() - before) / asked)
                found["peak"].append(max(memory))
    return {
        "round_over_ideal": rounded(found["first"]),
        "peak_mb": rounded(found["peak"], 0),
        "second_round_304_share": rounded(found["share"]),
        "second_round_over_ideal": rounded(found["second"]),
        "ideal_s": round(ideal, 3),
        "sources": sources,
    }


def round_s(services: Services, workshop: Workshop, sources: int, new: int) -> float:
    """Return the seconds of one round; refuse one that did not do its work."""
    done = []
    spent = seconds(lambda: done.extend(poll_due(services, workshop=workshop)))
    brought = sum(report.new for _, report in done)
    if len(done) != sources or brought != new:
        raise SystemExit(f"bench: {len(done)} of {sources} sources answered with {brought} of {new} notices")
    return spent


@contextmanager
def installation(sources: int, port: int) -> Iterator[Services]:
    """Open an empty installation that knows the sources; all of them are due."""
    allowed = ",".join(f"{address_of(n)}:{port}" for n in range(sources))
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings({}, home=Path(folder), city="shili", allow_private=allowed)
        services = build(settings, clock=FixedClock(NOW), demo=True)
        migrate(services.database)
        for n in range(sources):
            url = f"http://{address_of(n)}:{port}/feed"
            services.sources.add(slug=f"bench-{n}", name=f"【示例】信源{n}", url=url, at=NOW)
        try:
            yield services
        finally:
            services.close()


class Server:
    """The loopback servers, in their own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._ask(""))

    def unchanged(self) -> int:
        """Say how many 304 were answered so far."""
        return int(json.loads(self._ask("?\n")).get("304", 0))

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def serving(sources: int, entries: int, delay_s: float) -> Iterator[Server]:
    """Start the servers."""
    feeds = json.dumps([invented(number, entries) for number in range(sources)])
    command = [sys.executable, "-m", "bench.poll_server", str(sources), str(delay_s)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        assert process.stdin
        process.stdin.write(feeds + "\n")
        del feeds  # is not the engine's memory
        try:
            yield Server(process)
        finally:
            process.kill()


def invented(number: int, entries: int) -> list[dict[str, str]]:
    """Make up what a source says: sentences of the sample city's notices, four a notice, mixed anew."""
    dice = random.Random(number)
    titles, sentences = _pieces()
    return [
        {
            "title": f"{dice.choice(titles)}（{dice.randrange(10**6)}号）",
            "body": "\n".join(f"{part}（{dice.randrange(10**6)}）。" for part in dice.sample(sentences, 4)),
            "published": (NOW - timedelta(minutes=dice.randrange(10**4))).strftime(
                "%a, %d %b %Y %H:%M:%S +0000"
            ),
        }
        for _ in range(entries)
    ]


@cache
def _pieces() -> tuple[list[str], list[str]]:
    notices = sample_notices()
    parts = {part.strip() for notice in notices for part in notice["body"].replace("\n", "。").split("。")}
    return [notice["title"] for notice in notices], sorted(part for part in parts if 15 <= len(part) <= 80)


@contextmanager
def watched(workshop: Workshop) -> Iterator[list[float]]:
    """Look at the memory of this process and the workshop's, in MB, twice a second."""
    found: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not found or not over.wait(0.5):
            found.append(sum(pss_mb(pid) for pid in [os.getpid(), *workshop.pids()]))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def pss_mb(pid: int) -> float:
    """Return a process's share of memory; 0 where this system does not say."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:"))
