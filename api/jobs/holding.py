"""What the system holds of one resident, said to them, and their hand on it: opinions, taste, taking back.

Chooses nothing and trains nothing. The rules of what may be kept stand here once, for the pages, the
interface and the command line: nothing while personalisation is off, only about what was chosen for them,
no liking or rating of what is solemn, sensitive tags only with their own consent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from api.jobs import joining, signals
from api.wiring import Services
from feeds.catalogue.notices import Notice
from feeds.catalogue.solemn import takes
from feeds.kernel.errors import NotFoundError, UsageError
from feeds.kernel.time import local_date
from profiles.feedback import FeedbackRow
from profiles.said import Said
from profiles.said import said as said_in
from profiles.taste import MOST_WEIGHT, TASTE_KINDS, TasteTag
from profiles.types import FeedbackKind, Profile

#: What a resident may say of a notice on a page or through the interface.
OPINIONS: tuple[FeedbackKind, ...] = ("like", "save", "less", "dislike", "hide", "rating")
#: What is listed one by one and may be taken back.
ACTS: tuple[FeedbackKind, ...] = ("open", "click", *OPINIONS)
_STEPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class HeldCounts:
    """How many events are held of each kind, and since when.

    Attributes:
        kinds: (kind, how many), most first; ties by name.
        since: The oldest event's instant; ``None`` where there is none.
    """

    kinds: tuple[tuple[str, int], ...] = ()
    since: datetime | None = None

    @property
    def total(self) -> int:
        """All events."""
        return sum(count for _, count in self.kinds)

    @property
    def telling(self) -> int:
        """Events that say something about the person: all but impressions."""
        return sum(count for kind, count in self.kinds if kind != "impression")


@dataclass(frozen=True, slots=True)
class HeldModel:
    """What the trained model holds of a resident.

    Attributes:
        version, trained_at: Of the model in use; empty and ``None`` without one.
        own: It has a feature of its own for them.
        missing: Events still missing until the next full training may give them one; 0 if none.
        leaning: (tag, weight), highest first; see :func:`recommender.held.held`.
        simulated: How much of what it learned from is made up, 0 to 1.
        problem: Why there is no model in use, or empty.
    """

    version: str = ""
    trained_at: datetime | None = None
    own: bool = False
    missing: int = 0
    leaning: tuple[tuple[str, float], ...] = ()
    simulated: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Everything behind the choices of one resident, as they may see it.

    Attributes:
        taste: Tags with a weight, highest first; ties by tag.
        never: Tags that must never be learned again.
        counts, latest: What is recorded of their behaviour; the latest without impressions.
        share, in_control: The share of the comparison group, 0 to 1, and whether they are in it this month.
        spared: They can never be in it, nor be tried with: a sensitive role, discreet, or switched off.
        tried: Whether an edition of theirs may hold one trial pick.
    """

    taste: tuple[TasteTag, ...]
    never: tuple[str, ...]
    counts: HeldCounts
    latest: tuple[FeedbackRow, ...]
    model: HeldModel
    share: float
    in_control: bool
    tried: bool
    spared: bool = False


def held(services: Services, profile: Profile, *, latest: int = 50) -> Held:
    """Gather what is held of a resident; the model is read from disk once a process."""
    from recommender.control import in_control, spared  # numerical libraries: only these pages need them

    taste = services.taste.of(profile.id)
    share = services.settings.control_share
    today = local_date(services.clock.now(), services.zone)
    apart = spared(profile, services.city)
    compared = in_control(profile, today, share, services.key, services.city)
    behaviour = counts(services, profile)
    return Held(
        taste=tuple(sorted((t for t in taste if t.weight), key=lambda t: (-t.weight, t.tag))),
        never=tuple(sorted(t.tag for t in taste if t.own and not t.weight)),
        counts=behaviour,
        latest=tuple(services.feedback.recent([profile.id], latest)[profile.id]),
        model=held_model(services, profile.id, behaviour.telling),
        share=share,
        in_control=compared,
        tried=services.settings.explore and not compared and not apart,
        spared=apart,
    )


def said(services: Services, profile: Profile, notice_ids: Collection[int] | None = None) -> dict[int, Said]:
    """What a resident said, by notice, of these or of all; those they said nothing of are left out."""
    rows = services.feedback.opinions(profile.id, notice_ids)
    return {number: said_in(about) for number, about in rows.items()}


def saved(services: Services, profile: Profile) -> list[int]:
    """The notices a resident saved, the one saved last first."""
    return services.feedback.saved(profile.id)


def counts(services: Services, profile: Profile) -> HeldCounts:
    """How many events are held of a resident."""
    kinds = services.feedback.kinds(profile.id)
    return HeldCounts(
        tuple((one.kind, one.count) for one in kinds), min((one.since for one in kinds), default=None)
    )


def held_model(services: Services, profile_id: int, events: int) -> HeldModel:
    """Say what the model in use holds of a resident who has left ``events`` traces."""
    from recommender import held as projection
    from recommender.features import IDENTITY_EVENTS

    missing = max(IDENTITY_EVENTS - events, 0)
    model = services.models.load_current()
    if model is None:
        return HeldModel(missing=missing, problem=services.models.problem)
    own = projection.has_own_feature(model, profile_id)
    return HeldModel(
        version=model.info.version,
        trained_at=model.info.trained_at,
        own=own,
        missing=0 if own else missing,
        leaning=tuple(projection.held(model, profile_id)),
        simulated=model.info.simulated_share,
    )


def give(
    services: Services,
    profile: Profile,
    notice_id: int,
    kind: FeedbackKind,
    *,
    value: float = 0.0,
    channel: str = "web",
) -> bool:
    """Keep what a resident says of a notice; return whether it was kept (nothing is while it is off).

    Raises:
        UsageError: If the notice was not chosen for them, is too solemn for it, or a rating is not 1 to 5.
    """
    if kind == "rating" and value not in (1, 2, 3, 4, 5):
        raise UsageError("A rating is 1, 2, 3, 4 or 5; send it as `value`.")
    if kind != "rating" and value:
        raise UsageError("Only a rating has a value.")
    notice = _chosen(services, profile, notice_id)
    if not (lessens(notice) if kind == "less" else takes(notice, kind)):
        raise UsageError("Notices of mourning, disaster or penalty take no likes and no ratings.")
    if not profile.personalised:
        return False
    return signals.opinion(services, profile.id, notice_id, kind, value=value, channel=channel)


def take_back(services: Services, profile: Profile, notice_id: int, kind: FeedbackKind) -> bool:
    """Delete what a resident did or said of a notice, with what it taught; return whether it was there."""
    return signals.take_back(services, profile.id, notice_id, kind)


def level_of(weight: float) -> int:
    """The step a weight stands on: -3 to 3 without 0; a weight between two steps counts to the nearer one."""
    size = min(max(round(abs(weight)), 1), 3)
    return size if weight >= 0 else -size


def step(weight: float, up: bool) -> float:
    """The next step above or below a weight; 0 is left out, the ends stay."""
    at = _STEPS.index(float(level_of(weight))) + (1 if up else -1)
    return _STEPS[min(max(at, 0), len(_STEPS) - 1)]


def set_taste(services: Services, profile: Profile, tag: str, weight: float) -> None:
    """Set what a resident wants more (above 0) or less (below 0) of; learning leaves it alone from then on.

    Raises:
        UsageError: If the tag is none of this city or of a kind that is not learned, if it is sensitive and
            they did not agree to it, if the weight is 0 or beyond 3, or personalisation is off.
    """
    if not profile.personalised:
        raise UsageError("Personalisation is off, so weights have no effect; switch it on first.")
    if tag.partition(":")[0] not in TASTE_KINDS or not services.city.known(tag):
        raise UsageError(
            f"{tag!r} cannot have a weight here; take a theme, type, agency, life event or place."
        )
    if not 0 < abs(weight) <= MOST_WEIGHT:
        raise UsageError(
            "A weight lies between -3 and 3 and is not 0; to have a tag never learned, delete it."
        )
    if services.city.is_sensitive(tag) and tag not in agreed(services, profile):
        raise UsageError("This tag is sensitive; follow it in your choices first and agree there.")
    services.taste.set(profile.id, tag, weight)


def move_taste(services: Services, profile: Profile, tag: str, *, up: bool) -> None:
    """Set a tag that is held one step higher or lower, as :func:`set_taste` does.

    Raises:
        NotFoundError: If it is not held, or only as never to be learned.
        UsageError: As :func:`set_taste`.
    """
    before = next((t.weight for t in services.taste.of(profile.id) if t.tag == tag), 0.0)
    if not before:
        raise NotFoundError(f"Nothing is held about {tag[:96]!r}.")
    set_taste(services, profile, tag, step(before, up))


def drop_taste(services: Services, profile: Profile, tag: str) -> None:
    """Delete a tag and never learn it again.

    Raises:
        NotFoundError: If nothing is held under it.
    """
    if tag not in {item.tag for item in services.taste.of(profile.id)}:
        raise NotFoundError(f"Nothing is held about {tag[:96]!r}.")
    services.taste.drop(profile.id, tag)


def release_taste(services: Services, profile: Profile, tag: str) -> bool:
    """Let a tag be learned again, from nothing; return whether anything was held under it."""
    return services.taste.release(profile.id, tag)


def reset(services: Services, profile: Profile, *, own: bool = False) -> int:
    """Forget everything that was learned; choices stay, own weights too unless ``own``; count the events."""
    return joining.forget_behaviour(services, profile.id, own=own)


def agreed(services: Services, profile: Profile) -> frozenset[str]:
    """The sensitive tags this resident agreed to."""
    return services.consents.sensitive(profile.id)


def fixed(services: Services, profile: Profile) -> frozenset[str]:
    """The tags whose weight this resident set, or that must never be learned: no opinion moves them."""
    return frozenset(item.tag for item in services.taste.of(profile.id) if item.own)


def lessened(
    services: Services, profile: Profile, notice: Notice, fixed: Collection[str] = ()
) -> tuple[str, ...]:
    """The tags that "less like this" makes rarer for this resident, most telling first; at most three.

    Empty where nothing is learned from the notice: it is sensitive, or all its tags are ``fixed``.
    """
    taught = signals.teaches(services, profile.id, notice.tags)
    tags = [tag for tag in taught if f"{tag.kind}:{tag.code}" not in fixed]
    ordered = sorted(tags, key=lambda tag: (-tag.weight, TASTE_KINDS.index(tag.kind), tag.code))
    return tuple(f"{tag.kind}:{tag.code}" for tag in ordered[:3])


def lessens(notice: Notice) -> bool:
    """Whether less of its kind may be asked for: of anything but an emergency, which comes by rule anyway."""
    return notice.priority != "emergency"


def followed(services: Services, profile: Profile, notice: Notice) -> tuple[str, ...]:
    """The interests of a resident that a notice meets, also those that contain its themes; at most three."""
    met = {f"{tag.kind}:{tag.code}" for tag in notice.tags}
    for code in notice.codes("theme"):
        if code in services.city.themes and (up := services.city.themes[code].parent):
            met.add(f"theme:{up}")
    return tuple(tag for tag in profile.interests if tag in met)[:3]


def unfollow(services: Services, profile: Profile, tag: str) -> Profile:
    """Take one interest out; a consent that was only for it ends, as with every change of choices."""
    return joining.change(
        services, replace(profile, interests=tuple(t for t in profile.interests if t != tag))
    )


def _chosen(services: Services, profile: Profile, notice_id: int) -> Notice:
    shelf = services.editions.shelf(profile.id)
    if notice_id in shelf.picked or any(item.pick.notice_id == notice_id for item in shelf.picks):
        notice = services.notices.many([notice_id]).get(notice_id)
        if notice is not None and notice.is_public:
            return notice
    raise UsageError("That notice is not among this profile's picks.")
