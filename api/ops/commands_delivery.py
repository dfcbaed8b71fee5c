"""Commands about sending: digests, outbox, channels."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from api.jobs.digests import plan, send
from api.ops import console
from delivery.sms_text import segments
from delivery.types import MailMessage, Message, SmsMessage
from feeds.kernel.errors import UsageError
from profiles.contacts import clean_address


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    digests = typer.Typer(no_args_is_help=True, help="Daily digests by mail and SMS.")
    outbox = typer.Typer(no_args_is_help=True, help="What waits to be sent, and what became of it.")
    channels = typer.Typer(no_args_is_help=True, help="Channels.")
    digests.command("plan")(digests_plan)
    digests.command("send")(digests_send)
    outbox.command("status")(outbox_status)
    outbox.command("retry")(outbox_retry)
    outbox.command("pause")(outbox_pause)
    outbox.command("resume")(outbox_resume)
    outbox.command("cancel")(outbox_cancel)
    channels.command("test")(channels_test)
    for name, group in (("digests", digests), ("outbox", outbox), ("channels", channels)):
        app.add_typer(group, name=name)


def digests_plan() -> None:
    """Plan a digest for every subscription whose hour has come."""
    with console.services() as services:
        report = plan(services)
        console.say(
            f"{report.planned} digests planned, {report.empty} had nothing to say, "
            f"{report.unverified} wait for a confirmed address.",
            planned=report.planned,
            empty=report.empty,
            unverified=report.unverified,
        )


def digests_send(limit: Annotated[int, typer.Option(min=1)] = 500) -> None:
    """Send what is due."""
    with console.services() as services:
        report = send(services, limit=limit)
        states = (
            ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
            or "nothing was due"
        )
        console.say(
            f"{states}.", claimed=report.claimed, states=dict(report.states), errors=dict(report.errors)
        )


def outbox_status() -> None:
    """Count deliveries by channel and state, and tell the age of the oldest that is due."""
    with console.services() as services:
        status = services.outbox.status(services.clock.now())
        if console.options.json:
            console.say("", **asdict(status))
            return
        rows = [(name, state, n) for name, states in status.counts.items() for state, n in states.items()]
        console.table("Outbox 发件箱", ("channel", "state", "deliveries"), rows, "outbox")
        late = status.oldest_due_seconds
        console.say("Nothing is late." if late is None else f"The oldest due delivery waits {late:.0f} s.")
        for name, reason in status.paused.items():
            console.say(f"Paused: {name or 'everything'} {reason}".rstrip())


def outbox_retry(delivery_id: Annotated[int | None, typer.Argument()] = None) -> None:
    """Queue failed deliveries again: one, or all."""
    with console.services() as services:
        now = services.clock.now()
        ids = None if delivery_id is None else [delivery_id]
        count = services.outbox.retry(ids, now, now + timedelta(hours=14))
        console.say(f"{count} deliveries are queued again.", queued=count)


def outbox_pause(reason: Annotated[str, typer.Option()] = "") -> None:
    """Stop all sending until resumed."""
    with console.services() as services:
        services.outbox.pause(services.clock.now(), reason)
        console.say("All sending is paused; `mycity outbox resume` goes on.", paused=True)


def outbox_resume() -> None:
    """Go on sending."""
    with console.services() as services:
        services.outbox.resume()
        console.say("Sending goes on.", paused=False)


def outbox_cancel(delivery_id: int) -> None:
    """Cancel a delivery that waits."""
    with console.services() as services:
        count = services.outbox.cancel([delivery_id], services.clock.now())
        if not count:
            raise UsageError(f"Delivery {delivery_id} is not waiting; `mycity outbox status` shows what is.")
        console.say(f"Delivery {delivery_id} is cancelled.", cancelled=count)


def channels_test(channel: str, address: str) -> None:
    """Send one test message by a channel (email or sms)."""
    with console.services() as services:
        port = services.channels.get(channel)
        if port is None:
            raise UsageError(f"There is no channel {channel!r}; choose from {', '.join(services.channels)}.")
        to, now = clean_address(channel, address), services.clock.now()
        text = f"【{services.city.sms_signature}】这是一条测试消息。This is a test message."
        message: Message
        if channel == "sms":
            message = SmsMessage(to, "test-1", {}, text, segments(text), f"test-{int(now.timestamp())}")
        else:
            sender = services.settings.mail_from or f"notices@{services.authority}"
            reference = f"<test-{int(now.timestamp())}@{services.authority}>"
            message = MailMessage(to, "MyCity test 测试", text, f"<p>{text}</p>", reference, sender, now)
        accepted = port.send(message)
        console.say(
            f"Accepted by {accepted.provider}: {accepted.ref}", provider=accepted.provider, ref=accepted.ref
        )
