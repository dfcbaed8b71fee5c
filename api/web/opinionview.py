"""What a resident's buttons and reasons show beside one notice: what was said of it, why it was picked.

Computes no score: widths of bars are the contributions that the ledger keeps. Stores nothing. Called by the
routes of the residents' pages, the feed page and the notice page.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from api.jobs import holding
from api.views import reason_sentence
from api.web.listing import shown_title, tag_name
from api.web.wording import Words
from feeds.catalogue.notices import Notice
from feeds.catalogue.solemn import takes_likes
from profiles.reasons import INFERRED_CODES, UNSCORED_CODES, UNTRUE_BY_DATE
from profiles.said import Said
from profiles.types import Pick, Profile, Reason

if TYPE_CHECKING:
    from api.wiring import Services

RATINGS = (1, 2, 3, 4, 5)
#: What a page may say after a button was pressed.
DONE = ("like", "save", "less", "hide", "rating", "undone")
_TOKEN = re.compile(r"f/[\w-]{10,64}")


@dataclass(frozen=True, slots=True)
class ReasonBar:
    """One reason with its share of the score.

    Attributes:
        width: 0 to 100, against the largest contribution of this pick; 0 draws no bar.
        points: The contribution with one decimal, or empty where no score was made.
        whole: The whole score likewise, for it is more than what is listed.
    """

    text: str
    inferred: bool
    width: int = 0
    points: str = ""
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Opinions:
    """The buttons beside one notice.

    Attributes:
        back: Where pressing leads back to: ``me``, ``saved``, ``notice`` or ``f/{token}``.
        likes: Whether liking is decent. ``lessens``: whether less of its kind may be asked for.
        lessened: (tag, name) of what "less like this" makes rarer.
        followed: (tag, name) of what the resident follows and the notice is about; less of it still comes.
    """

    notice_id: int
    title: str
    back: str
    likes: bool
    lessens: bool
    said: Said
    lessened: tuple[tuple[str, str], ...] = ()
    followed: tuple[tuple[str, str], ...] = ()


def opinions(
    services: Services,
    profile: Profile,
    notice: Notice,
    said: Said | None,
    words: Words,
    *,
    back: str,
    fixed: Collection[str] = (),
) -> Opinions:
    """Describe the buttons of one notice; ``fixed`` are the tags that no opinion moves."""
    _, title, _ = shown_title(services.city, notice, words.lang)
    rarer = holding.lessened(services, profile, notice, fixed)
    own = holding.followed(services, profile, notice)
    return Opinions(
        notice_id=notice.id,
        title=title,
        back=back,
        likes=takes_likes(notice),
        lessens=holding.lessens(notice),
        said=said or Said(),
        lessened=tuple((tag, tag_name(services.city, tag, words.lang)) for tag in rarer),
        followed=tuple((tag, tag_name(services.city, tag, words.lang)) for tag in own),
    )


def reason_bars(services: Services, profile: Profile, pick: Pick, words: Words) -> list[ReasonBar]:
    """Say the reasons of a pick, declared ones first, each with its true contribution as a bar.

    With personalisation off nothing is said that newness as the order makes untrue, and no score stands
    there. A trial, a reminder and a place in the control group are decided beside the score: those sentences
    have no bars, and in the control group nothing has, because there no score ordered.
    """
    reasons = [r for r in pick.reasons if profile.personalised or r.code not in UNTRUE_BY_DATE]
    ordered = sorted(reasons, key=lambda reason: reason.code in INFERRED_CODES)
    counted = [reason.contribution for reason in ordered if reason.code not in UNSCORED_CODES]
    by_date = not profile.personalised or any(reason.code == "control" for reason in ordered)
    most = 0.0 if by_date or pick.score == 0 else max(counted, default=0.0)
    return [_bar(services, reason, words, most, pick.score) for reason in ordered]


def _bar(services: Services, reason: Reason, words: Words, most: float, score: float) -> ReasonBar:
    text = reason_sentence(services, reason, lang=words.lang)
    inferred = reason.code in INFERRED_CODES
    if most <= 0 or reason.contribution <= 0 or reason.code in UNSCORED_CODES:
        return ReasonBar(text, inferred)
    width = max(round(100 * reason.contribution / most), 2)
    return ReasonBar(text, inferred, width, f"{reason.contribution:.1f}", f"{score:.1f}")


def where_back(services: Services, profile: Profile, back: str, notice_id: int, done: str) -> str:
    """The address to go to after a button was pressed; a foreign or ended token leads to ``/me``."""
    query = f"?done={done}&n={notice_id}" if done else ""
    if back == "saved":
        return f"/me/saved{query}"
    if back == "notice":
        return f"/notices/{notice_id}{query}#mine"
    if _TOKEN.fullmatch(back):
        token = back.removeprefix("f/")
        if services.tokens.resolve(token, now=services.clock.now()) == profile.id:
            return f"/f/{token}{query}#n{notice_id}"
    if back == "all":
        query = f"?all=1{query.replace('?', '&')}"
    return f"/me{query}" + ("" if done == "hide" else f"#n{notice_id}")


def reply(request: Request, shown: Iterable[Opinions]) -> dict[str, Any]:
    """What the page says after a button was pressed: which one, and beside which notice."""
    done, number = request.query_params.get("done", ""), request.query_params.get("n", "")
    beside: Sequence[Opinions] = [item for item in shown if str(item.notice_id) == number]
    return {
        "said_what": done if done in DONE else "",
        "said_of": beside[0].notice_id if beside else 0,
    }
