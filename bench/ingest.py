"""Taking in a feed of 500 entries, against bare ``feedparser.parse`` of the same bytes.

``parse_ratio``: bytes to raw entries. ``ingest_ratio``: bytes to stored, sanitised, tagged and
searchable notices on SQLite. Both in entries/s over bare feedparser's entries/s (which sanitises too).
"""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import feedparser

from bench.tools import NOW, rounded, sample_notices, scratch, seconds
from feeds.intake.parsers.feed import parse_feed
from feeds.kernel.http import Answer

ENTRIES = 500
_URL = "https://bench.example/feed.xml"


def run(repeat: int) -> dict[str, Any]:
    """Measure in interleaved rounds, so that other load hits all three alike."""
    body = feed()
    rounds: dict[str, list[float]] = {"bare": [], "parse": [], "ingest": []}
    for _ in range(repeat):
        rounds["bare"].append(ENTRIES / seconds(lambda: feedparser.parse(body)))
        rounds["parse"].append(ENTRIES / seconds(lambda: parse_feed(body, {}, _URL)))
        rounds["ingest"].append(ENTRIES / ingest(body))
    return {
        "parse_ratio": rounded([a / b for a, b in zip(rounds["parse"], rounds["bare"], strict=True)]),
        "ingest_ratio": rounded([a / b for a, b in zip(rounds["ingest"], rounds["bare"], strict=True)]),
        "bare_entries_per_s": rounded(rounds["bare"], 0),
        "parse_entries_per_s": rounded(rounds["parse"], 0),
        "ingest_entries_per_s": rounded(rounds["ingest"], 0),
        "bytes": len(body),
    }


class _Canned:
    """Answers with the same bytes without a network, so that only our work is timed."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def get(self, url: str, **_: str) -> Answer:
        return Answer(status=200, url=url, body=self.body, headers={}, fetched_at=NOW, moved_to="")


def ingest(body: bytes) -> float:
    """Return the seconds of one poll into an empty installation."""
    with scratch() as services:
        services.tagger  # noqa: B018  (built once an installation, not once a poll)
        source = services.sources.add(slug="bench", name="示例", url=_URL, at=NOW, timezone="Asia/Shanghai")
        report = None

        def poll() -> None:
            nonlocal report
            report = services.ingestor.poll(source, _Canned(body))

        spent = seconds(poll)
        if report is None or report.new != ENTRIES:
            raise SystemExit(f"bench: {report} instead of {ENTRIES} new notices")
        return spent


def feed() -> bytes:
    """Build an RSS feed of invented notices with HTML bodies."""
    items = []
    notices = sample_notices()
    for n in range(ENTRIES):
        notice = notices[n % len(notices)]
        paragraphs = "".join(
            f"<p onclick='x()'>{html.escape(part)} <a href='/a/{n}'>链接</a></p>"
            for part in notice["body"].split("\n")
        )
        published = (NOW - timedelta(minutes=n)).strftime("%a, %d %b %Y %H:%M:%S +0000")
        items.append(
            f"<item><guid isPermaLink='false'>n-{n}</guid><title>{html.escape(notice['title'])} {n}</title>"
            f"<link>https://bench.example/{n}</link><pubDate>{published}</pubDate>"
            f"<description>{html.escape(paragraphs)}</description></item>"
        )
    head = "<?xml version='1.0' encoding='utf-8'?><rss version='2.0'><channel><title>示例</title><link>https://bench.example/</link>"
    return (head + "".join(items) + "</channel></rss>").encode()
