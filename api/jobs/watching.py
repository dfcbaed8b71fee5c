"""Watch the recommender: may the model be used, what does it do, and what follows from that.

Falls back to rules by itself, says in the log when an alarm begins and ends, and remembers both in the
notebook, from which the pages, the command line, the doctor and ``/metrics`` tell the same. Measuring reads
bounded samples only. Called by the scheduler, by selection (may a model be used?) and by those who show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import structlog

from api.jobs.library import published
from api.jobs.notebook import Notebook, Notes
from feeds.kernel.errors import UsageError
from feeds.kernel.time import local_date
from profiles.samples import Samples
from recommender import figures
from recommender.candidates import from_notice, level_one
from recommender.clickthrough import OPENED
from recommender.control import (
    USUAL,
    Comparison,
    careful_roles,
    compare,
    in_control,
    is_spared,
    members,
    spared,
    tally,
)
from recommender.figures import Measures, Parity, Released, Seen
from recommender.model_file import Model, ModelInfo, ModelShelf, Standing
from recommender.monitor import Limits, Verdict, judge

if TYPE_CHECKING:
    from api.settings import Settings
    from api.wiring import Services
    from feeds.catalogue.notices import Notice
    from feeds.catalogue.vocabulary import City
    from feeds.desk.staff import Actor
    from profiles.types import Edition, Profile

_log = structlog.get_logger(__name__)

#: How far back the ledger and feedback are looked at.
LEDGER, FEEDBACK = timedelta(days=30), timedelta(days=14)
#: The most that one measurement reads, however large the city is.
MOST_EDITIONS, MOST_PEOPLE, MOST_ASKED, MOST_EACH, MOST_NOTICES = 4_000, 1_000, 20_000, 150, 10_000
#: How long a model rests that was worse than the control group.
REST = timedelta(days=7)
#: It rests only if it is worse beyond so many standard errors. Looking every hour gives chance many tries: at
#: the usual 1.96 a quarter of all cities would rest a model as good as newest first once in half a year.
SURELY = 3.3
#: Reading samples takes seconds in a large city; judging takes none and is done at every look.
MEASURE_EVERY = timedelta(hours=1)
#: With fewer notices the share of known tags says nothing.
_MIN_NOTICES = 20
#: Smaller groups of residents are not told of.
_MIN_PEOPLE = 20
_TAGS = ("theme", "type", "agency", "life", "place")


@dataclass(frozen=True)
class View:
    """The recommender for people and programs: the same in every entrance.

    Attributes:
        standing: What one look at the model files found; ``standing.model`` may be unfit for use by the
            verdict.
    """

    verdict: Verdict
    standing: Standing
    notes: Notes
    at: datetime

    @property
    def info(self) -> ModelInfo | None:
        """Where the model comes from that was found fit."""
        return self.standing.model.info if self.standing.model else None

    @property
    def serving(self) -> str:
        """The version that picks are made with, or empty: by rules."""
        return self.info.version if self.info and self.verdict.usable else ""


def limits_of(settings: Settings) -> Limits:
    """The limits of age, as set."""
    return Limits(timedelta(days=settings.model_days), timedelta(hours=settings.model_hours))


def verdict_of(standing: Standing, notes: Notes, now: datetime, limits: Limits | None) -> Verdict:
    """Judge one look at the shelf by what is remembered."""
    found, problem = standing.state, standing.problem
    if found == "none" and (once := notes.used or notes.trained):
        found = "missing"
        what = "in use" if notes.used else "trained"
        problem = (
            f"Model {once} was {what} and its files are gone; run `mycity train`. Until then editions "
            "are made by rules."
        )
    return judge(
        standing.model.info if standing.model else None, found, problem, now, limits,
        refreshed_at=notes.refreshed_at, resting_until=notes.resting_until,
        known_tags=notes.measures.known_tags if _same_model(standing, notes) and notes.measures else None,
    )  # fmt: skip


def _same_model(standing: Standing, notes: Notes) -> bool:
    """Whether what was measured of a model was measured of this one's vocabulary."""
    info = standing.model.info if standing.model else None
    return info is not None and notes.measures is not None and notes.measures.vocabulary == info.vocabulary


def view(services: Services, now: datetime | None = None) -> View:
    """See everything at once, without measuring anew."""
    now = now or services.clock.now()
    return view_of(services.models, services.notebook, now, _limits(services))


def view_of(shelf: ModelShelf, notebook: Notebook, now: datetime, limits: Limits | None) -> View:
    """The same without the joined parts (the doctor has none)."""
    standing, notes = shelf.look(), notebook.read()
    return View(verdict_of(standing, notes, now, limits), standing, notes, now)


def kept(services: Services) -> list[tuple[str, ModelInfo | None]]:
    """Kept versions, newest first, with where each comes from; ``None`` for one that is not fit for use."""
    return [(version, services.models.info(version)) for version in reversed(services.models.versions())]


def usable_model(services: Services, now: datetime) -> Model | None:
    """Return the model to pick with, or ``None``: by rules. Says in the log when that changes."""
    standing, notes = services.models.look(), services.notebook.read()
    verdict = verdict_of(standing, notes, now, _limits(services))
    _tell(services, verdict, standing, notes, now)
    return standing.model if verdict.usable else None


def watch(services: Services, now: datetime | None = None, *, measure_now: bool = False) -> View:
    """Judge, measure if it is time, and let a model rest that is clearly worse than the control group."""
    now = now or services.clock.now()
    notes = services.notebook.read()
    last = notes.measures
    if measure_now or last is None or not last.at <= now < last.at + MEASURE_EVERY:
        found = measure(services, now, since=notes.compared_from)
        notes = services.notebook.change(measures=found)
        resting = notes.resting_until is not None and now < notes.resting_until
        if found.comparison is not None and surely_worse(found.comparison) and not resting:
            notes = services.notebook.change(resting_until=now + REST, compared_from=now + REST)
    usable_model(services, now)
    return view(services, now)


def surely_worse(compared: Comparison) -> bool:
    """Whether picks are opened less than the control group's beyond what many looks make likely by chance."""
    most = compared.difference + (compared.high - compared.difference) * SURELY / USUAL
    return compared.verdict == "worse" and most < 0


def use(services: Services, version: str, actor: Actor | None = None) -> str:
    """Put a kept version in use, or with an empty ``version`` the one before; comparing begins anew.

    Args:
        services: The joined parts.
        version: One of the kept ones, or empty.
        actor: The editor who asks on the page; ``None`` on the command line.

    Raises:
        MycityError: If there is no such version, or it is not fit, or the actor is no editor.
    """
    if actor is not None and "editor" not in actor.roles:
        raise UsageError("Your account may not change the model; ask for the role `editor`.")
    before = services.models.current() or ""
    if version:
        services.models.use(version)
    else:
        version = services.models.rollback()
    now = services.clock.now()
    services.notebook.change(resting_until=None, compared_from=now)
    who = actor.label if actor else "command-line"
    services.audit.append("model-use", actor=who, at=now, details={"before": before, "now": version})
    _log.info("model_chosen", version=version, before=before)
    return version


def measure(services: Services, now: datetime, *, since: datetime | None = None) -> Measures:
    """Measure everything from bounded samples; nothing is stored.

    Args:
        services: The joined parts.
        now: The present.
        since: Feedback before it does not count in the comparison: another model served, or rules.
    """
    samples = Samples(services.database)
    notices = published(services, most=MOST_NOTICES)
    released = _released(notices, services, now - LEDGER)
    ledger = samples.editions(now - LEDGER, most=MOST_EDITIONS)
    places = services.city.places  # what concerns the whole city is no district's
    local = [one for one in released if one.place in places and places[one.place].kind == "district"]
    spans, by = figures.coverage(released, ledger.editions, now)
    leads, explored = figures.reasons(ledger.editions)
    scores = {
        (one.profile_id, pick.notice_id): pick.score
        for one in ledger.editions
        for pick in one.picks
        if pick.score and pick.kind == "new"
    }
    seen = _seen(services, samples, ledger.editions, now, scores)
    model = services.models.look().model
    return Measures(
        at=now,
        editions=len(ledger.editions),
        picks=sum(len(one.picks) for one in ledger.editions),
        sampled=not ledger.whole,
        coverage=spans,
        by={kind: shares[:_GROUPS] for kind, shares in by.items()},
        reasons=leads,
        explored=explored,
        comparison=_compared(services, samples, now, since) if control_share(services) > 0 else None,
        deciles=figures.deciles(seen),
        wait_median=figures.wait(seen),
        parity={
            "place": figures.parity(local, ledger.editions, "place"),
            "lang": figures.parity(released, ledger.editions, "lang"),
            **_served(services, samples, now),
        },
        known_tags=_known_tags(model, notices, now) if model else None,
        vocabulary=model.info.vocabulary if model else "",
    )


_GROUPS = 40


def _limits(services: Services) -> Limits | None:
    return None if services.demo else limits_of(services.settings)


def _tell(services: Services, verdict: Verdict, standing: Standing, notes: Notes, now: datetime) -> None:
    """Log a change of state, and remember it; write nothing while nothing changes."""
    version = standing.model.info.version if standing.model and verdict.usable else notes.used
    if verdict.state == notes.state and version == notes.used:
        return
    if verdict.state != notes.state:
        if verdict.alarm:
            _log.error("model_alarm_begins", state=verdict.state, why=verdict.why)
        elif notes.state and notes.state not in ("fine", "none"):
            _log.warning("model_alarm_ends", was=notes.state, state=verdict.state)
    since = notes.state_since if verdict.state == notes.state else now
    services.notebook.change(state=verdict.state, state_since=since, used=version)


def _released(notices: Iterable[Notice], services: Services, since: datetime) -> list[Released]:
    """Notices that could have been picked since, now over or not; an archive's by their own date."""
    found = []
    for notice in notices:
        at = notice.content.published if notice.archive else notice.released_at
        if at is None or at < since:
            continue
        one = from_notice(notice)
        themes = level_one(one, services.city)
        theme = themes[0] if themes else ""
        place = _district(notice.place or "", services.city)
        found.append(Released(notice.id, at, theme, one.agency, place, notice.content.lang))
    return found


def _district(place: str, city: City) -> str:
    """The district a place lies in; what is larger, or unknown, stands for itself."""
    if place not in city.places:
        return place
    above = (place, *city.ancestors(place))
    return next(
        (code for code in above if code in city.places and city.places[code].kind == "district"), place
    )


def _seen(
    services: Services, samples: Samples, editions: Sequence[Edition], now: datetime,
    scores: Mapping[tuple[int, int], float],
) -> list[Seen]:  # fmt: skip
    """What became of the picks of the sampled editions, newest first, by those whom they were made for."""
    some = list(dict.fromkeys(one.profile_id for one in reversed(editions)))[:MOST_PEOPLE]
    side = _side(services, services.profiles.many(some))
    rows = samples.feedback(some, now - FEEDBACK, each=MOST_EACH)
    return figures.pairs_seen(
        rows, scores=scores, in_control=lambda who, at: bool(side(who, local_date(at, services.zone)))
    )


def _compared(services: Services, samples: Samples, now: datetime, since: datetime | None) -> Comparison:
    """Compare residents with the control group, both drawn in the same way from all who joined."""
    zone, key = services.zone, services.key
    people = services.profiles.many(samples.people(MOST_ASKED))
    held = members(people, local_date(now, zone), control_share(services), key, services.city)
    careful = careful_roles(services.city)
    kept: list[Profile] = []
    for control in (False, True):
        group = [one for one, own in zip(people, held, strict=True) if own == control]
        kept += _spread([one for one in group if not is_spared(one, careful)], MOST_PEOPLE)
    start = now - FEEDBACK if since is None else max(since, now - FEEDBACK)
    rows = samples.feedback([one.id for one in kept], start, each=MOST_EACH)
    side = _side(services, kept)
    return compare(*tally(rows, OPENED, side, lambda row: local_date(row.at, zone)))


def _spread(people: Sequence[Profile], most: int) -> list[Profile]:
    """At most ``most`` of them, from all over the order they stand in."""
    if len(people) <= most:
        return list(people)
    return [people[len(people) * n // most] for n in range(most)]


def _side(services: Services, people: Iterable[Profile]) -> Callable[[int, date], bool | None]:
    """Whether a resident was in the control group on a day; ``None`` for those who never can be."""
    known, city, share = {one.id: one for one in people}, services.city, control_share(services)

    @cache
    def side(profile_id: int, month: date) -> bool | None:
        profile = known.get(profile_id)
        if profile is None or spared(profile, city):
            return None
        return in_control(profile, month, share, services.key, city)

    return lambda profile_id, day: side(profile_id, day.replace(day=1))


def _served(services: Services, samples: Samples, now: datetime) -> dict[str, Parity]:
    """Whether residents of all districts and languages get their share of a week's picks."""
    people = services.profiles.many(samples.people(MOST_PEOPLE))
    picks = services.editions.picked_since([one.id for one in people], now - timedelta(days=7))
    found = {}
    for kind in ("home", "reader"):
        sizes, got = Counter[str](), Counter[str]()
        for one in people:
            home = next((place.code for place in one.places if place.label == "home"), "")
            group = _district(home, services.city) if kind == "home" else one.lang
            sizes[group] += 1
            got[group] += picks.get(one.id, 0)
        found[kind] = figures.evenness(sizes, got, _MIN_PEOPLE)
    return found


def control_share(services: Services) -> float:
    """The share of residents in the control group; nobody is in the demo."""
    return 0.0 if services.demo else services.settings.control_share


def _known_tags(model: Model, notices: Sequence[Notice], now: datetime) -> float | None:
    """Share of the tags of the last week's notices that the model has a column for."""
    week = [one for one in notices if one.released_at and one.released_at >= now - timedelta(days=7)]
    names = [f"{tag.kind}:{tag.code}" for one in week for tag in one.tags if tag.kind in _TAGS]
    if len(week) < _MIN_NOTICES or not names:
        return None
    return sum(name in model.items.columns for name in names) / len(names)
