"""Commands about digests: digests plan, send, why, runs. Thin shells; nothing is decided here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from api.jobs import silence
from api.jobs.corrections import plan_corrections
from api.jobs.digests import CHANNELS, missing, plan
from api.jobs.sending import send
from api.ops import console
from delivery.digest_runs import RunStore


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    digests = typer.Typer(no_args_is_help=True, help="Digests: who gets one, what became of each run.")
    digests.command("plan")(digests_plan)
    digests.command("send")(digests_send)
    digests.command("why")(digests_why)
    digests.command("runs")(digests_runs)
    app.add_typer(digests, name="digests")


def digests_plan() -> None:
    """Plan what is due: digests, messages at once, corrections. Running it again adds nothing."""
    with console.services() as services:
        report, corrected = plan(services), plan_corrections(services)
        console.say(
            f"{report.planned} digests planned, {report.empty} had nothing to say, "
            f"{corrected.messages} corrections.",
            due=report.due,
            planned=report.planned,
            immediate=report.immediate,
            empty=report.empty,
            corrections=corrected.messages,
            runs=report.runs,
        )


def digests_send(limit: Annotated[int, typer.Option(min=1)] = 500) -> None:
    """Send what is due."""
    with console.services() as services:
        report = send(services, limit=limit)
        RunStore(services.database).complete_due(services.clock.now())  # also what had nothing to say is done
        states = (
            ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
            or "nothing was due"
        )
        console.say(
            f"{states}.", claimed=report.claimed, states=dict(report.states), errors=dict(report.errors)
        )


def digests_why(
    profile_id: int, channel: Annotated[str, typer.Option(help="Only this channel.")] = ""
) -> None:
    """Say why the last message of a resident did or did not come, and when the next one may."""
    with console.services() as services:
        profile = services.profiles.get(profile_id)
        names = [channel] if channel else list(CHANNELS)
        found = {name: silence.why(services, profile_id, name) for name in names}
        shown = {name: one for name, one in found.items() if channel or one.code != "none"}
        if console.options.json:
            told = {
                name: {"code": one.code, "zh": one.zh, "en": one.en, "next_due": one.next_due}
                for name, one in shown.items()
            }
            console.say("", profile=profile_id, channels=told)
            return
        for name, one in shown.items():
            console.say(f"{name}: {one.text(profile.lang)}")
        if not shown:
            console.say("No channel that pushes is on.")


def digests_runs(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    days: Annotated[int, typer.Option(min=1, max=60, help="Look so far back for missing runs.")] = 7,
) -> None:
    """List the newest runs, and the hours that no run was made for."""
    with console.services() as services:
        runs = RunStore(services.database).recent(limit)
        lost = missing(services, days=days)
        zone = services.zone
        if console.options.json:
            told = [asdict(run) for run in runs]
            console.say("", runs=told, missing=lost)
            return
        rows = [
            (r.id, r.kind, f"{r.slot.astimezone(zone):%Y-%m-%d %H:%M}", r.rows, r.state, r.reason)
            for r in runs
        ]
        console.table("Runs 批次", ("id", "kind", "slot", "messages", "state", "reason"), rows, "runs")
        if lost:
            hours = ", ".join(f"{one.astimezone(zone):%Y-%m-%d %H:%M}" for one in lost)
            console.say(f"Missing: {hours}. `mycity digests plan` makes up for them.")
