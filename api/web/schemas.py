"""What the open interface takes and gives: one model for each direction, unknown fields are refused.

Pure shapes; ``routes.api_v1`` fills them.
"""

from __future__ import annotations

from datetime import datetime
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


class FeedbackIn(BaseModel):
    """What was done with a pick."""

    model_config = ConfigDict(extra="forbid")
    notice_id: Annotated[int, Field(ge=1, lt=2**63)]
    kind: Literal["open", "like", "dislike", "hide"]


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
