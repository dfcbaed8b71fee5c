"""What the open interface takes and gives: one model for each direction, unknown fields are refused.

Pure shapes; ``routes.api_v1`` fills them.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from profiles.types import PACE_MAX, PACE_MIN

Code = Annotated[str, Field(min_length=1, max_length=96)]
Language = Literal["zh-Hans", "en"]


class ErrorOut(BaseModel):
    """Why a call was refused."""

    error: str
    field: str | None = None


class TagOut(BaseModel):
    """A tag and the rule that gave it."""

    tag: str
    zh: str
    en: str
    cause: str


class NoticeOut(BaseModel):
    """A public notice; instants are ISO 8601 in UTC, ``null`` means unknown."""

    id: int
    revision: int
    state: str
    title: str
    title_en: str
    lang: str
    agency: str
    doc_no: str
    kind: str
    priority: str
    published: datetime | None
    released: datetime | None
    changed: datetime | None
    deadline: datetime | None
    deadline_precision: str
    phone: str
    url: str
    source_url: str
    withdrawn_because: str
    tags: list[TagOut]
    body_html: str | None = Field(None, description="Only on a single notice.")


class NoticesOut(BaseModel):
    """A page of notices, freshest first; ``next`` goes into ``before`` for the following page."""

    notices: list[NoticeOut]
    next: str | None


class PlaceIn(BaseModel):
    """A place to follow, by code or any name of it (former ones too)."""

    model_config = ConfigDict(extra="forbid")
    place: Annotated[str, Field(min_length=1, max_length=80)]
    label: Annotated[str, Field(max_length=32)] = "home"


class ChoicesIn(BaseModel):
    """What a resident chooses."""

    model_config = ConfigDict(extra="forbid")
    roles: Annotated[list[Code], Field(max_length=20)] = []
    places: Annotated[list[PlaceIn], Field(max_length=5)] = []
    interests: Annotated[list[Code], Field(max_length=200)] = []
    mutes: Annotated[list[Code], Field(max_length=200)] = []
    languages: Annotated[list[Language], Field(min_length=1, max_length=2)] = ["zh-Hans"]
    pace: Annotated[int, Field(ge=PACE_MIN, le=PACE_MAX)] = PACE_MAX
    personalised: bool = True
    discreet: bool = False
    agree_sensitive: bool = Field(
        False, description="Needed where a role or interest is sensitive; recorded as consent."
    )


class JoinIn(ChoicesIn):
    """Choices, and where digests go."""

    email: Annotated[str, Field(max_length=254)] = ""
    phone: Annotated[str, Field(max_length=32)] = ""
    digest_hour: Annotated[int, Field(ge=8, le=19)] = 8


class RhythmIn(BaseModel):
    """How often and when messages of a channel come."""

    model_config = ConfigDict(extra="forbid")
    frequency: Literal["daily", "weekly", "immediate"] = "daily"
    hour: Annotated[int, Field(ge=8, le=19)] = 8
    weekday: Annotated[int, Field(ge=0, le=6, description="0 is Monday; counts for weekly.")] = 0
    workdays_only: bool = False


class RestIn(BaseModel):
    """Local days on which a channel rests, both included."""

    model_config = ConfigDict(extra="forbid")
    first: date
    last: date | None = Field(None, description="Null: until it is ended.")
    keeps: bool = Field(True, description="What happens meanwhile comes afterwards in one message.")


class SubscriptionOut(BaseModel):
    """A channel that is on, and why its last message did or did not come."""

    channel: str
    frequency: str
    hour: int
    weekday: int
    workdays_only: bool
    verified: bool
    rests_from: datetime | None
    rests_until: datetime | None
    rest_keeps: bool
    next_due: datetime | None
    last_result: str
    last_result_zh: str
    last_result_en: str


class SubscriptionsOut(BaseModel):
    """Every channel that is on."""

    subscriptions: list[SubscriptionOut]


class PlaceOut(BaseModel):
    """A followed place."""

    code: str
    label: str


class ProfileOut(BaseModel):
    """What is held of a resident's choices."""

    created: datetime
    roles: list[str]
    places: list[PlaceOut]
    interests: list[str]
    mutes: list[str]
    languages: list[str]
    pace: int
    personalised: bool
    discreet: bool


class JoinedOut(BaseModel):
    """A new profile; both secrets are shown this once."""

    profile: ProfileOut
    feed_token: str
    manage_secret: str
    feed_url: str


class PickOut(BaseModel):
    """One notice chosen for this resident, with the reasons, strongest first."""

    notice_id: int
    revision: int
    title: str
    summary: str
    lang: str
    url: str
    agency: str
    published: datetime
    updated: datetime
    deadline: datetime | None
    mark: str
    reasons: list[str]


class PicksOut(BaseModel):
    """The shelf, newest edition first."""

    picks: list[PickOut]


Act = Literal["open", "click", "save", "like", "dislike", "less", "hide", "rating"]


class FeedbackIn(BaseModel):
    """What was done with a pick, or said of it."""

    model_config = ConfigDict(extra="forbid")
    notice_id: Annotated[int, Field(ge=1, lt=2**63)]
    kind: Act
    value: Annotated[int, Field(ge=0, le=5)] = Field(0, description="Of a rating: 1 to 5. Else left out.")


class TasteIn(BaseModel):
    """The weight a resident gives a tag: above 0 more of it, below 0 less; learning leaves it alone."""

    model_config = ConfigDict(extra="forbid")
    tag: Code
    weight: Annotated[float, Field(ge=-3, le=3)]


class TasteOut(BaseModel):
    """A tag with its weight; ``own``: set by the resident. Weight 0: never to be learned."""

    tag: str
    zh: str
    en: str
    weight: float
    own: bool


class TastesOut(BaseModel):
    """Everything that was learned or set, highest weight first; those never to be learned last."""

    taste: list[TasteOut]


class LeaningOut(BaseModel):
    """A tag that the model's own vector of a resident leans to (above 0) or away from."""

    tag: str
    weight: float


class ModelOut(BaseModel):
    """What the trained model in use holds of a resident; an empty version means that there is none."""

    version: str
    trained: datetime | None
    own_feature: bool = Field(description="It has a feature of its own for this resident.")
    events_missing: int = Field(description="Events until the next full training may give them one.")
    leaning: list[LeaningOut]
    simulated_share: float


class EventOut(BaseModel):
    """One thing that was done; instants in UTC."""

    notice_id: int
    kind: str
    at: datetime
    channel: str
    value: float
    simulated: bool


class HeldOut(BaseModel):
    """Everything behind the choices of a resident."""

    choices: ProfileOut
    taste: list[TasteOut]
    model: ModelOut
    events: dict[str, int] = Field(description="How many are held of each kind.")
    events_since: datetime | None
    latest: list[EventOut] = Field(description="The latest 50, newest first, without impressions.")
    control_share: float
    in_control: bool = Field(description="Picks are newest first this month, to compare.")
    tried: bool = Field(description="A daily edition may hold one trial pick.")


class ResetIn(BaseModel):
    """What to forget; choices always stay."""

    model_config = ConfigDict(extra="forbid")
    own_weights: bool = Field(False, description="Also the weights that the resident set.")


class ResetOut(BaseModel):
    """How many events went."""

    events: int


class DoneOut(BaseModel):
    """Whether it was kept (nothing is while personalisation is off)."""

    kept: bool


class WordOut(BaseModel):
    """One code of the vocabulary."""

    code: str
    zh: str
    en: str
    parent: str = ""
    sensitive: bool = False


class VocabularyOut(BaseModel):
    """Everything a profile or a filter may name; tags are written ``kind:code``."""

    city: WordOut
    roles: list[WordOut]
    themes: list[WordOut]
    places: list[WordOut]
    life_events: list[WordOut]
    types: list[WordOut]
    agencies: list[WordOut]
