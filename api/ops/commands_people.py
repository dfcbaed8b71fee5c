"""Commands about residents: profiles new, list, show, export, erase, verify."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.jobs import copying, holding, silence
from api.jobs.digests import CHANNELS
from api.jobs.joining import erase, export, join
from api.ops import console
from api.views import shelf_view
from api.wiring import Services
from feeds.kernel.errors import UsageError
from profiles.types import FollowedPlace, Profile

_FIRST = (
    "An address must be confirmed before anything real goes to it (by the message we send, or with `mycity "
    "profiles verify {} CHANNEL`); the first picks are on the page at once and never go by mail or SMS."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    profiles = typer.Typer(no_args_is_help=True, help="Residents' profiles.")
    profiles.command("new")(new)
    profiles.command("list")(list_)
    profiles.command("show")(show)
    profiles.command("export")(export_)
    profiles.command("erase")(erase_)
    profiles.command("verify")(verify)
    profiles.command("copy")(copy_)
    app.add_typer(profiles, name="profiles")


def new(
    role: Annotated[
        list[str] | None, typer.Option(help="citizen, investor, tourist, enterprise or aid; repeatable.")
    ] = None,
    place: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=LABEL, e.g. 静安=home; repeatable.")
    ] = None,
    interest: Annotated[
        list[str] | None, typer.Option(help="theme:0402, life:graduation, word:电梯 …; repeatable.")
    ] = None,
    mute: Annotated[list[str] | None, typer.Option(help="A tag that must not come; repeatable.")] = None,
    lang: Annotated[list[str] | None, typer.Option(help="zh-Hans or en, best first; repeatable.")] = None,
    pace: Annotated[int, typer.Option(help="Most notices a day, 2 to 10.")] = 10,
    email: Annotated[str, typer.Option(help="For a daily mail.")] = "",
    phone: Annotated[str, typer.Option(help="For a daily SMS.")] = "",
    hour: Annotated[int, typer.Option(help="Local hour of mail and SMS.")] = 8,
    discreet: Annotated[bool, typer.Option("--discreet", help="Neutral wording outside the page.")] = False,
) -> None:
    """Create a profile; prints the feed address and the manage secret, this once."""
    with console.services() as services:
        wish = Profile(
            id=0,
            created_at=datetime(1970, 1, 1, tzinfo=UTC),
            roles=tuple(role or ()),
            places=tuple(_place(services, text) for text in place or ()),
            interests=tuple(interest or ()),
            mutes=tuple(mute or ()),
            langs=tuple(lang or ["zh-Hans"]),
            pace=pace,
            discreet=discreet,
        )
        joined = join(services, wish, email=email, phone=phone, digest_hour=hour)
        address = f"{services.settings.base_url}/f/{joined.feed_token}"
        console.say(
            f"Profile {joined.profile.id}. Shown only now:\n  feed   {address}.rss  (.atom, .json)\n"
            f"  manage {services.settings.base_url}/me/enter/{joined.manage_secret}"
            + (f"\n{_FIRST.format(joined.profile.id)}" if email or phone else ""),
            profile=joined.profile.id,
            feed=f"{address}.rss",
            feed_token=joined.feed_token,
            manage_secret=joined.manage_secret,
        )


def list_(limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """List profiles."""
    with console.services() as services:
        rows = []
        for batch in services.profiles.batches():
            rows += [
                (p.id, ", ".join(p.roles), ", ".join(x.code for x in p.places), ", ".join(p.interests))
                for p in batch
            ]
            if len(rows) >= limit:
                break
        names, total = ("id", "roles", "places", "interests"), services.profiles.count()
        if console.options.json:
            console.say(
                "", profiles=[dict(zip(names, row, strict=True)) for row in rows[:limit]], total=total
            )
            return
        console.table("Profiles 画像", names, rows[:limit], "profiles")
        if total > limit:
            console.say(f"{limit} of {total}; --limit N shows more.")


def show(profile_id: int, limit: Annotated[int, typer.Option(min=1, max=50)] = 10) -> None:
    """Show what is on a profile's shelf with the reasons, its taste, and what the model holds of it."""
    with console.services() as services:
        profile = services.profiles.get(profile_id)
        shelf = services.editions.shelf(profile_id)
        views = shelf_view(services, profile, shelf, lang=profile.lang, limit=limit)
        picks = [(view.notice_id, view.title, "；".join(view.reasons)) for view in views]
        known = holding.held(services, profile)
        taste = [
            (item.tag, services.city.label(item.tag, profile.lang), f"{item.weight:+.2f}", _origin(item.own))
            for item in known.taste
        ]
        taste += [
            (tag, services.city.label(tag, profile.lang), "never", _origin(True)) for tag in known.never
        ]
        answers = {channel: silence.why(services, profile_id, channel) for channel in CHANNELS}
        answers = {channel: one for channel, one in answers.items() if one.code != "none"}
        if console.options.json:
            console.say("", **_as_values(picks, known), messages=_said(answers))
            return
        title = f"Profile {profile_id}, shelf version {shelf.version}"
        console.table(title, ("id", "title", "reasons"), picks, "picks")
        if taste:
            console.table("Taste 口味", ("tag", "name", "weight", "origin"), taste, "taste")
        else:
            console.say("Taste 口味: nothing was learned or set yet.")
        for line in _about(services, known, profile.lang):
            console.say(line)
        for channel, answer in answers.items():
            console.say(f"{channel}: {answer.text(profile.lang)}")


def _said(answers: dict[str, silence.Answer]) -> dict[str, object]:
    """Channel → why nothing came, for programs."""
    return {
        channel: {
            "code": one.code,
            "zh": one.zh,
            "en": one.en,
            "next_due": one.next_due.isoformat() if one.next_due else None,
        }
        for channel, one in answers.items()
    }


def _origin(own: bool) -> str:
    return "set by the resident" if own else "learned"


def _about(services: Services, known: holding.Held, lang: str) -> list[str]:
    """What the model and the records hold, a line each."""
    model = known.model
    lines = [
        f"Model {model.version}, trained {model.trained_at:%Y-%m-%d %H:%M} UTC, "
        f"{model.simulated:.0%} of its pairs simulated."
        if model.trained_at
        else model.problem
    ]
    if model.own:
        leaning = ", ".join(
            f"{services.city.label(tag, lang)} {weight:+.2f}" for tag, weight in model.leaning
        )
        lines.append(f"It has a feature of its own for this resident; against the mean resident: {leaning}.")
    elif model.missing:
        lines.append(
            f"Nothing in it is this resident alone; {model.missing} more events are needed for that."
        )
    else:
        lines.append("Nothing in it is this resident alone; the next full training may change that.")
    kinds = ", ".join(f"{count} {kind}" for kind, count in known.counts.kinds) or "none"
    since = f" since {known.counts.since:%Y-%m-%d}" if known.counts.since else ""
    lines.append(f"Events held{since}: {kinds}.")
    group = "in" if known.in_control else "not in"
    tried = "may" if known.tried else "never"
    if known.spared:
        lines.append(
            "Never in the control group and never tried with (a sensitive role, discreet, or switched off)."
        )
    else:
        lines.append(
            f"This month {group} the control group ({known.share:.0%}); editions {tried} hold a trial."
        )
    return lines


def _as_values(picks: list[tuple[int, str, str]], known: holding.Held) -> dict[str, object]:
    """The same for programs; picks as they always were."""
    model = known.model
    return {
        "picks": [dict(zip(("id", "title", "reasons"), row, strict=True)) for row in picks],
        "taste": [
            {"tag": item.tag, "weight": item.weight, "own": item.own} for item in known.taste
        ],
        "never": list(known.never),
        "model": {
            "version": model.version, "own_feature": model.own, "events_missing": model.missing,
            "leaning": [{"tag": tag, "weight": weight} for tag, weight in model.leaning],
        },
        "events": dict(known.counts.kinds),
        "control": {"share": known.share, "in_group": known.in_control, "spared": known.spared},
        "tried": known.tried,
    }  # fmt: skip


def export_(profile_id: int) -> None:
    """Print everything held about a profile as JSON."""
    with console.services() as services:
        held = export(services, profile_id)
        console.options.json = False
        console.say(json.dumps(held, ensure_ascii=False, default=str, indent=1))


def erase_(profile_id: int, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a profile with everything that hangs on it."""
    with console.services() as services:
        services.profiles.get(profile_id)
        if not yes and not typer.confirm(f"Erase profile {profile_id} for good?"):
            raise typer.Exit(1)
        erase(services, profile_id)
        console.say(f"Profile {profile_id} was erased.", profile=profile_id, erased=True)


def verify(profile_id: int, channel: str) -> None:
    """Mark an address as confirmed by the operator (real mail goes to confirmed addresses only)."""
    with console.services() as services:
        contact = services.contacts.get(profile_id, channel)
        if contact is None:
            raise UsageError(f"Profile {profile_id} has no address for {channel}.")
        services.contacts.put(profile_id, channel, contact.address, at=services.clock.now(), verified=True)
        console.say(
            f"The {channel} address of profile {profile_id} is confirmed.",
            profile=profile_id,
            channel=channel,
        )


def copy_(
    profile_id: int,
    sms: Annotated[str, typer.Option(help="Mobile number of whoever should get the copy.")],
    relation: Annotated[str, typer.Option(help="What the resident is to them: mother, father … family.")],
) -> None:
    """Ask somebody by text whether they want copies of a resident's text messages."""
    with console.services() as services:
        copy = copying.ask(services, services.profiles.get(profile_id), sms, relation)
        console.say(f"Copy {copy.id} begins once its reader answers Y.", copy=copy.id, profile=profile_id)


def _place(services: Services, text: str) -> FollowedPlace:
    name, _, label = text.partition("=")
    found = services.city.resolve_place(name)
    if found is None:
        near = ", ".join(services.city.suggest(f"place:{name}")) or "none"
        raise UsageError(f"{services.city.name.zh} has no place {name!r}; nearest: {near}.")
    return FollowedPlace(found.code, label or "home")
