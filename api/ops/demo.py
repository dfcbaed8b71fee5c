"""The demo city: notices in, five residents, a trained model, feeds, a mail and an SMS, all captured.

Uses only ``<home>/demo``: its own database, key and capture channels; every other setting is ignored.
The demo lives in its data's own time: its clock stands at the newest notice's day. What residents
"did" is simulated and says so. Called by ``mycity demo``.
"""

from __future__ import annotations

import csv
import json
import resource
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from api.jobs.digests import plan
from api.jobs.joining import join
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.jobs.training import SEED, readable, train_model
from api.settings import Settings, read_settings
from api.views import personal_feed, shelf_view
from api.wiring import Services, build
from delivery.jsonfeed import render_json
from delivery.syndication import render_atom, render_rss
from feeds.catalogue.city_files import load_city
from feeds.catalogue.notices import NoticeContent
from feeds.desk.editing import SYSTEM, Desk
from feeds.intake.sanitise import plain_to_html
from feeds.intake.types import IngestReport
from feeds.kernel.errors import BadInputError, MycityError, UsageError
from feeds.kernel.time import (
    Clock,
    FixedClock,
    OffsetClock,
    SystemClock,
    at_local_time,
    local_date,
    parse_instant,
)
from profiles.types import FollowedPlace, Profile

# The hour the demo's clock stands at on the newest notice's day, and when digests are due.
_HOUR = 18
_JOINED_BEFORE = timedelta(days=2)
_SIMULATED_RESIDENTS = 300
Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Report:
    """What ``mycity demo --once`` did: counts and seconds a stage."""

    city: str
    clock: str
    simulated: str
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    residents: list[dict[str, Any]] = field(default_factory=list)
    oddities: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "city": self.city,
            "clock": self.clock,
            "simulated": self.simulated,
            "counts": self.counts,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "residents": self.residents,
            "oddities": self.oddities,
        }


@dataclass(frozen=True, slots=True)
class Demo:
    """A prepared demo: its services, what was done, and the secrets shown to whoever runs it."""

    services: Services
    report: Report
    secrets: Mapping[str, Any]


def demo_settings(home: Path, city: str, base_url: str) -> Settings:
    """Settings of the demo: nothing of the environment but the home folder."""
    # Nobody there could be compared with, and what is shown should be explained by rules and model alone.
    fixed = {"control_share": 0.0, "explore": False}
    return read_settings({}, home=home / "demo", city=city, base_url=base_url, **fixed)


def prepare(
    home: Path,
    *,
    data: Path | None = None,
    city: str = "",
    now: datetime | None = None,
    base_url: str = "http://127.0.0.1:8000",
    progress: Progress | None = None,
) -> Demo:
    """Make the demo from nothing; an earlier one under the same home is replaced.

    Args:
        home: The demo lives in ``<home>/demo``.
        data: A notice file; ``None`` for the sample city.
        city: Whose vocabulary; default ``shili`` without ``data``, ``shanghai`` with it.
        now: Where the clock stands; default 18:00 on the newest notice's day.
        base_url: What links begin with.
        progress: Called with (stage, done, total).

    Raises:
        MycityError: If the file cannot be read, or holds no notice.
    """
    from api.ops.migrate import migrate  # alembic is not needed to open a demo that stands

    city = city or ("shanghai" if data else "shili")
    settings = demo_settings(home, city, base_url)
    with _notice_file(data, city) as path:
        _fresh_folder(settings.home)
        clock = FixedClock(now or default_now(path, settings, until=_tomorrow() if data else None))
        services = build(settings, clock=clock, demo=True)
        report = Report(services.city.slug, clock.now().astimezone(services.zone).isoformat(), _SIMULATED)
        total = time.perf_counter()
        with _timed(report, "migrate"):
            migrate(services.database)
        with _timed(report, "tagger"):
            services.tagger  # noqa: B018  (built here so that its time is not counted as ingest)
        with _timed(report, "ingest"):
            ingested = services.ingestor.import_file(path, progress=_step(progress, "ingest"))
        _count_ingest(services, report, ingested)
        with _timed(report, "events"):
            report.counts["events"] = apply_events(services, path)
    secrets = _people(services, report, progress)
    _publish(services, report, secrets)
    report.seconds["total"] = time.perf_counter() - total
    report.counts["peak_memory_mb"] = peak_memory_mb()
    _write_private(settings.home / "report.json", json.dumps(report.to_dict(), ensure_ascii=False, indent=1))
    _write_private(settings.home / "secrets.json", json.dumps(secrets, ensure_ascii=False, indent=1))
    _write_private(settings.home / "ready.json", json.dumps(_stamp(data, city, now, base_url)))
    return Demo(services, report, secrets)


def reopen(home: Path, *, data: Path | None, city: str, now: datetime | None, base_url: str) -> Demo | None:
    """Return the demo that an earlier run left, if it was made from the same things; else ``None``."""
    city = city or ("shanghai" if data else "shili")
    settings = demo_settings(home, city, base_url)
    try:
        ready = json.loads((settings.home / "ready.json").read_text(encoding="utf-8"))
        held = json.loads((settings.home / "report.json").read_text(encoding="utf-8"))
        secrets = json.loads((settings.home / "secrets.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if ready != _stamp(data, city, now, base_url):
        return None
    services = build(settings, clock=_running(datetime.fromisoformat(held["clock"])), demo=True)
    report = Report(
        held["city"], held["clock"], held["simulated"], held["counts"], held["seconds"], held["residents"]
    )
    report.oddities = held["oddities"]
    return Demo(services, report, secrets)


def run_on(demo: Demo) -> Services:
    """Let the demo's clock run from where it stands, for serving."""
    outbox = demo.services.outbox
    # An earlier serving went further: its leases and instants must not lie in what is the future now.
    demo.services.clock = _running(max([demo.services.clock.now(), *outbox.last_change()]))
    for name in ("ingestor", "desk"):
        demo.services.__dict__.pop(name, None)
    return demo.services


def _tomorrow() -> datetime:
    return SystemClock().now() + timedelta(days=1)


def default_now(path: Path, settings: Settings, *, until: datetime | None) -> datetime:
    """Return 18:00 local (or half an hour later than the newest notice) on the data's newest day.

    Dates after ``until`` are taken for typing errors; a file without any date gets the machine's time.
    """
    zone = ZoneInfo(load_city(settings.city).timezone)
    newest = None
    for text in _published_values(path):
        try:
            instant = parse_instant(text, zone)
        except (ValueError, OverflowError):
            continue
        if (until is None or instant <= until) and (newest is None or instant > newest):
            newest = instant
    if newest is None:
        return SystemClock().now()
    evening = at_local_time(local_date(newest, zone), _HOUR, zone)
    return max(evening, newest + timedelta(minutes=30))


def apply_events(services: Services, path: Path) -> int:
    """Apply what happened to notices afterwards (``events.jsonl`` beside the notice file).

    Each line corrects or withdraws a notice through the desk, at its own time.
    """
    events = path.parent / "events.jsonl"
    if path.name != "notices.jsonl" or not events.exists():
        return 0
    rows = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines() if line.strip()]
    ids = {item.guid: item.id for item in services.notices.export()}
    for row in rows:
        at = parse_instant(row["at"], services.zone)
        desk = Desk(services.notices, services.audit, services.tagger, FixedClock(at))
        notice_id = ids[row["id"]]
        if row["event"] == "withdraw":
            desk.withdraw(notice_id, row["reason"], SYSTEM)
        else:
            desk.correct(
                notice_id,
                _changed(services.notices.get(notice_id).content, row["fields"]),
                major=row["major"],
                note=row["note"],
                actor=SYSTEM,
            )
    return len(rows)


def peak_memory_mb() -> float:
    """Return the largest memory this process ever held, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)


_SIMULATED = (
    "The model was trained on feedback of simulated residents (seeded generator); "
    "no real person's behaviour is in it. 模型由模拟居民的反馈训练而成，不含任何真实个人的行为。"
)


_NO_MODEL = "No model was trained; picks were made by rules. 没有训练模型，全部按规则挑选。"


def _people(services: Services, report: Report, progress: Progress | None) -> dict[str, Any]:
    """Residents join two days before; then each evening editions are chosen and digests captured."""
    from api.jobs.watching import watch

    clock = services.clock
    if not isinstance(clock, FixedClock):
        raise UsageError("The demo is prepared with a clock that stands still.")
    today = clock.now()
    with _timed(report, "train"):
        _train(services, report)
    clock.at = today - _JOINED_BEFORE
    secrets: dict[str, Any] = {"residents": [], "staff": []}
    with _timed(report, "profiles"):
        for wish in residents(services):
            joined = join(
                services,
                _wish(wish),
                email=wish.get("email", ""),
                phone=wish.get("phone", ""),
                digest_hour=_HOUR,
                verified=True,
            )
            secrets["residents"].append(
                {
                    "slug": wish["slug"],
                    "name": wish.get("name_zh", wish["slug"]),
                    "profile": joined.profile.id,
                    "feed_token": joined.feed_token,
                    "manage_secret": joined.manage_secret,
                }
            )
        for name, roles in (("示例编辑甲", ("writer", "editor")), ("示例编辑乙", ("writer", "editor"))):
            _, key = services.staff.add(name, roles, at=clock.now())
            secrets["staff"].append({"name": name, "access_key": key})
    report.counts |= {"digests_planned": 0, "messages_captured": 0}
    for day in reversed(range(_JOINED_BEFORE.days)):
        evening = today - timedelta(days=day)
        clock.at = evening - timedelta(minutes=10)
        with _timed(report, "select"):
            select_all(services, progress=_count(progress, "select"))
        clock.at = evening
        with _timed(report, "digests"):
            report.counts["digests_planned"] += plan(services).planned
            report.counts["messages_captured"] += send(services).sent
    with _timed(report, "watch"):
        watch(services, measure_now=True)  # so that the editors' page has something to show
    editions, picks = services.editions.count()
    report.counts |= {"profiles": services.profiles.count(), "editions": editions, "picks": picks}
    return secrets


def _train(services: Services, report: Report) -> None:
    from recommender.simulate import simulate

    made = simulate(
        readable(services), services.city, residents=_SIMULATED_RESIDENTS, seed=SEED, now=services.clock.now()
    )
    report.counts["simulated_residents"] = len(made.profiles)
    report.counts["simulated_events"] = len(made.rows)
    try:
        _, name = train_model(services, extra_profiles=made.profiles, extra_rows=made.rows)
        report.counts["model"] = name
    except MycityError as error:
        report.counts["model"] = f"rules only: {error}"
        report.simulated = _NO_MODEL


def _publish(services: Services, report: Report, secrets: Mapping[str, Any]) -> None:
    """Write each resident's feed in the three formats."""
    with _timed(report, "feeds"):
        for resident in secrets["residents"]:
            report.residents.append(_write_feeds(services, resident))
    report.counts["material_number"] = services.notices.material_number()


def _write_feeds(services: Services, resident: Mapping[str, Any]) -> dict[str, Any]:
    profile = services.profiles.get(resident["profile"])
    shelf = services.editions.shelf(profile.id)
    view = personal_feed(services, profile, shelf, lang=profile.lang)
    for suffix, render in (("rss", render_rss), ("atom", render_atom), ("json", render_json)):
        (services.settings.home / f"{resident['slug']}.{suffix}").write_bytes(render(view))
    top = shelf_view(services, profile, shelf, lang=profile.lang, limit=3)
    return {
        "role": resident["slug"],
        "profile": profile.id,
        "entries": len(view.entries),
        "first": [{"title": entry.title, "reasons": list(entry.reasons)} for entry in top],
    }


def residents(services: Services) -> list[dict[str, Any]]:
    """Return the five demo residents: those of the city's file, else one plain one a role."""
    found = files("feeds.cities").joinpath(services.city.slug, "residents.toml")
    if found.is_file():
        listed: list[dict[str, Any]] = tomllib.loads(found.read_text(encoding="utf-8"))["resident"]
        return listed
    return [
        {
            "slug": role.code,
            "name_zh": f"示例居民（{role.label.zh}）",
            "roles": [role.code],
            "places": [{"code": services.city.place, "label": "home"}],
            "email": f"{role.code}@{services.city.slug}.example",
            "phone": f"+861380000{n:04d}",
        }
        for n, role in enumerate(services.city.roles.values())
    ]


def _wish(row: Mapping[str, Any]) -> Profile:
    return Profile(
        id=0,
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
        roles=tuple(row.get("roles", ())),
        places=tuple(
            FollowedPlace(item["code"], item.get("label", "home")) for item in row.get("places", ())
        ),
        interests=tuple(row.get("interests", ())),
        mutes=tuple(row.get("mutes", ())),
        langs=tuple(row.get("langs") or [row.get("lang", "zh-Hans")]),
        pace=row.get("pace", 10),
    )


def _changed(content: NoticeContent, fields: Mapping[str, Any]) -> NoticeContent:
    changes = dict(fields)
    if "body" in changes:
        changes["body"] = plain_to_html(changes["body"])
    return replace(content, **changes)


def _count_ingest(services: Services, report: Report, ingested: IngestReport) -> None:
    counts = services.notices.counts()
    report.counts |= {
        "read": ingested.read,
        "new": ingested.new,
        "dropped": ingested.dropped,
        "notices": counts.total,
        "untagged": counts.untagged,
        "with_theme_share": round(1 - counts.untagged / counts.total, 4) if counts.total else 0.0,
    }
    for oddity in ingested.oddities:
        report.oddities[oddity.problem] = report.oddities.get(oddity.problem, 0) + 1
    if counts.total == 0:
        raise BadInputError(
            "The file holds no notice that could be read; see the format in docs/notice-file.md."
        )


@contextmanager
def _notice_file(data: Path | None, city: str) -> Iterator[Path]:
    if data is not None:
        if not data.is_file():
            raise UsageError(f"There is no file {data}; give a notice file (JSON Lines or CSV).")
        yield data
        return
    load_city(city)  # says so if there is no such city
    with as_file(files("feeds.cities").joinpath(city)) as folder:
        if not (folder / "notices.jsonl").is_file():
            raise UsageError(f"The city {city} ships no notices; give a file with --data.")
        yield folder / "notices.jsonl"


def _published_values(path: Path) -> Iterator[str]:
    """Every ``published`` of a file, read line by line; lines that are none are skipped."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        if path.suffix.lower() == ".csv":
            yield from (row.get("published") or "" for row in csv.DictReader(stream))
            return
        while line := stream.readline(1 << 21):
            if '"published"' in line and line.lstrip().startswith("{"):
                try:
                    yield str(json.loads(line).get("published") or "")
                except ValueError:
                    continue


def _fresh_folder(folder: Path) -> None:
    try:
        if folder.exists():
            if not any((folder / name).exists() for name in ("mycity.db", "ready.json")) and any(
                folder.iterdir()
            ):
                raise UsageError(
                    f"{folder} holds something else; empty it, or set MYCITY_HOME to another folder."
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be made ({error.strerror}); set MYCITY_HOME to another one."
        ) from error


def _stamp(data: Path | None, city: str, now: datetime | None, base_url: str) -> dict[str, Any]:
    """What a demo was made from; a different stamp means it must be made again."""
    from importlib.metadata import version

    source = str(data.resolve()) if data else ""
    changed = data.stat().st_mtime_ns if data and data.exists() else _shipped_digest(city)
    return {
        "version": version("mycity"),
        "data": source,
        "changed": changed,
        "city": city,
        "now": now.isoformat() if now else "",
        "base_url": base_url,
    }


def _shipped_digest(city: str) -> str:
    import hashlib

    found = files("feeds.cities").joinpath(city, "notices.jsonl")
    return hashlib.sha256(found.read_bytes()).hexdigest()[:16] if found.is_file() else ""


def _running(start: datetime) -> Clock:
    return OffsetClock(start.astimezone(UTC))


@contextmanager
def _timed(report: Report, stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    report.seconds[stage] = report.seconds.get(stage, 0.0) + time.perf_counter() - began


def _step(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)


def _count(progress: Progress | None, stage: str) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(stage, done, 0)


def _write_private(path: Path, text: str) -> None:
    """Write at once and only for the owner; half a file is never seen."""
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
