"""Taking feeds in, against bare ``feedparser.parse`` and against lemon24/reader on the same bytes.

``parse_ratio``: bytes to normalised, sanitised entries, on 500 entries rich in Chinese HTML;
``parse_ratio_plain`` on 500 plain ones, ``parse_ratio_gdacs`` on the real GDACS files (``null`` where they
are absent). ``ingest_ratio``: the rich bytes to tagged, searchable notices in SQLite, near-duplicates
looked for. All in entries/s over feedparser's with its defaults, which sanitises too, in one process and
one thread. ``reader_ratio``: 200 feeds of 20 entries as local files, into an empty SQLite each; our entries/s
(tags, near-duplicates and search index included) over reader's (none of these included). Each as a user runs
it: reader with its defaults, one process and one thread; ours as a polling round by the engine, warm, with
its threads and a reading process a core, whose CPU the ratio does not count.
"""

from __future__ import annotations

import html
import os
import tempfile
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import feedparser

from api.jobs.polling import poll
from api.jobs.workshop import Workshop
from bench.tools import NOW, rounded, sample_notices, scratch, seconds
from feeds.intake.prepare import Preparer, Work
from feeds.intake.sources import Source
from feeds.intake.types import Fetched
from feeds.kernel.http import Answer

ENTRIES = 500
FEEDS, EACH = 200, 20
_URL = "https://bench.example/feed.xml"
_HEAD = (
    "<?xml version='1.0' encoding='utf-8'?><rss version='2.0'><channel><title>示例</title>"
    "<link>https://bench.example/</link>"
)


def run(repeat: int) -> dict[str, Any]:
    """Measure in interleaved rounds, so that other load hits all alike."""
    rich, plain, real = [feed()], [feed(rich=False)], gdacs()
    rounds: dict[str, list[float]] = {}

    def note(name: str, figure: float) -> None:
        rounds.setdefault(name, []).append(figure)

    with scratch() as services:
        preparer, source = services.ingestor.preparer, _source(services)
        prepare(preparer, source, rich)  # dictionaries are loaded once a process
        for _ in range(repeat):
            for name, bodies in (("rich", rich), ("plain", plain), ("gdacs", real)):
                if bodies:
                    bare = seconds(lambda bodies=bodies: [feedparser.parse(body) for body in bodies])
                    ours = seconds(lambda bodies=bodies: prepare(preparer, source, bodies))
                    note(f"parse_{name}", bare / ours)
                    if name == "rich":
                        note("bare_per_s", ENTRIES / bare)
                        note("parse_per_s", ENTRIES / ours)
                        note("ingest", bare / ingest(rich[0]))
        with tempfile.TemporaryDirectory() as folder, Workshop("shili") as workshop:
            paths = _write(Path(folder))
            workshop.warm()
            our_seconds(paths, workshop)  # as the other one, whose modules are loaded by its first call
            reader_seconds(paths)
            for _ in range(max(repeat // 2, 1)):
                theirs, mine = reader_seconds(paths), our_seconds(paths, workshop)
                note("reader", theirs / mine)
                note("reader_per_s", FEEDS * EACH / theirs)
                note("ours_per_s", FEEDS * EACH / mine)
    return {
        "parse_ratio": rounded(rounds["parse_rich"]),
        "parse_ratio_plain": rounded(rounds["parse_plain"]),
        "parse_ratio_gdacs": rounded(rounds["parse_gdacs"]) if real else None,
        "ingest_ratio": rounded(rounds["ingest"]),
        "reader_ratio": rounded(rounds["reader"]),
        "bare_entries_per_s": rounded(rounds["bare_per_s"], 0),
        "parse_entries_per_s": rounded(rounds["parse_per_s"], 0),
        "reader_entries_per_s": rounded(rounds["reader_per_s"], 0),
        "our_entries_per_s": rounded(rounds["ours_per_s"], 0),
        "bytes": len(rich[0]),
    }


class _Canned:
    """Answers with given bytes without a network, so that only our work is timed."""

    def __init__(self, bodies: dict[str, bytes | Path]) -> None:
        self._bodies = bodies

    def get(self, url: str, **_: str) -> Answer:
        body = self._bodies[url]
        plain = body.read_bytes() if isinstance(body, Path) else body
        return Answer(status=200, url=url, body=plain, headers={}, fetched_at=NOW, moved_to="")


def prepare(preparer: Preparer, source: Source, bodies: list[bytes]) -> None:
    """Bring answers to normalised, sanitised entries."""
    for body in bodies:
        work = Work()
        parsed = preparer.parse(source, Fetched(200, _URL, body, {}, NOW))
        for entry in parsed.entries:
            preparer.draft(source, entry, NOW, work)


def ingest(body: bytes) -> float:
    """Return the seconds of one poll into an empty installation."""
    with scratch() as services:
        services.tagger  # noqa: B018  (built once an installation, not once a poll)
        source, client = _source(services), _Canned({_URL: body})
        report = None

        def work() -> None:
            nonlocal report
            report = services.ingestor.poll(source, client)

        spent = seconds(work)
        if report is None or report.new != ENTRIES:
            raise SystemExit(f"bench: {report} instead of {ENTRIES} new notices")
        return spent


def our_seconds(paths: list[Path], workshop: Workshop) -> float:
    """Return the seconds of a round over all files, as sources that are asked for the first time."""
    with scratch() as services:
        services.ingestor  # noqa: B018  (built once an installation, not once a round)
        client = _Canned({f"https://bench.example/{path.name}": path for path in paths})
        services.client = lambda: client  # type: ignore[method-assign,assignment,return-value]
        sources = [
            services.sources.add(
                slug=path.stem, name=path.stem, url=f"https://bench.example/{path.name}", at=NOW,
                timezone="Asia/Shanghai",
            )
            for path in paths
        ]  # fmt: skip

        spent = seconds(lambda: poll(services, sources, workshop=workshop))
        if services.notices.counts().total != FEEDS * EACH:
            raise SystemExit(f"bench: {services.notices.counts().total} notices instead of {FEEDS * EACH}")
        return spent


def reader_seconds(paths: list[Path]) -> float:
    """Return the seconds that lemon24/reader takes to update the same files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from reader import make_reader

    with tempfile.TemporaryDirectory() as folder:
        reader = make_reader(os.path.join(folder, "reader.db"), feed_root=str(paths[0].parent))
        for path in paths:
            reader.add_feed(path.name)
        spent = seconds(lambda: reader.update_feeds())
        total = reader.get_entry_counts().total
        reader.close()
        if total != FEEDS * EACH:
            raise SystemExit(f"bench: reader has {total} entries instead of {FEEDS * EACH}")
        return spent


def feed(*, rich: bool = True, first: int = 0, entries: int = ENTRIES) -> bytes:
    """Build an RSS feed of invented notices, with HTML bodies or with a plain line each."""
    items = []
    notices = sample_notices()
    for n in range(first, first + entries):
        notice = notices[n % len(notices)]
        published = (NOW - timedelta(minutes=n)).strftime("%a, %d %b %Y %H:%M:%S +0000")
        items.append(
            f"<item><guid isPermaLink='false'>n-{n}</guid><title>{html.escape(notice['title'])} {n}</title>"
            f"<link>https://bench.example/{n}</link><pubDate>{published}</pubDate>"
            f"<description>{html.escape(_body(notice, n, rich))}</description></item>"
        )
    return (_HEAD + "".join(items) + "</channel></rss>").encode()


def gdacs() -> list[bytes]:
    """Return the real GDACS files, or nothing where they are absent."""
    folder = Path(os.environ.get("MYCITY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    return [path.read_bytes() for path in sorted(folder.glob("rss/gdacs-*.xml"))]


def _body(notice: dict[str, Any], n: int, rich: bool) -> str:
    if not rich:
        return str(notice["body"].split("\n")[0])[:80]
    return "".join(
        f"<p onclick='x()'>{html.escape(part)} <a href='/a/{n}'>链接</a></p>"
        for part in notice["body"].split("\n")
    )


def _write(folder: Path) -> list[Path]:
    paths = []
    for number in range(FEEDS):
        path = folder / f"feed-{number:03}.xml"
        path.write_bytes(feed(rich=False, first=number * EACH, entries=EACH))
        paths.append(path)
    return paths


def _source(services: Any) -> Source:
    return services.sources.add(slug="bench", name="示例", url=_URL, at=NOW, timezone="Asia/Shanghai")
