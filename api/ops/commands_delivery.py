"""Commands about sending: outbox, channels."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer

from api.jobs.outbox_answers import FEW, what_came, who_got, why_text
from api.jobs.sweeping import sweep
from api.ops import console
from api.ops.doctor import held_text
from api.wiring import Services
from delivery.compose_sms import compose_named
from delivery.outbox import RETRYABLE
from delivery.outbox_log import OutboxLog
from delivery.outbox_runs import HeldRun
from delivery.types import Delivery, MailMessage, Message, PushMessage, WebhookMessage, WechatMessage
from feeds.kernel.errors import MycityError, UsageError
from profiles.contacts import clean_address


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    outbox = typer.Typer(no_args_is_help=True, help="What waits to be sent, and what became of it.")
    channels = typer.Typer(no_args_is_help=True, help="Channels.")
    outbox.command("status")(outbox_status)
    outbox.command("retry")(outbox_retry)
    outbox.command("pause")(outbox_pause)
    outbox.command("resume")(outbox_resume)
    outbox.command("cancel")(outbox_cancel)
    outbox.command("release")(outbox_release)
    outbox.command("sweep")(outbox_sweep)
    outbox.command("who")(outbox_who)
    channels.command("test")(channels_test)
    for name, group in (("outbox", outbox), ("channels", channels)):
        app.add_typer(group, name=name)


def outbox_status() -> None:
    """Count deliveries by channel and state, and tell the age of the oldest that is due."""
    with console.services() as services:
        now = services.clock.now()
        status, held = services.outbox.status(now), services.outbox.held_runs()
        log = OutboxLog(services.database)
        late, stuck = log.oldest_due(now), log.held(now)
        if console.options.json:
            console.say(
                "", **asdict(status), held=[asdict(one) for one in held], late=dict(late),
                held_by_sender=stuck and asdict(stuck),
            )  # fmt: skip
            return
        rows = [(name, state, n) for name, states in status.counts.items() for state, n in states.items()]
        console.table("Outbox 发件箱", ("channel", "state", "deliveries"), rows, "outbox")
        if stuck is not None:
            console.say(held_text(stuck, now, services.zone))
        elif not late:
            console.say("Nothing is late.")
        for lane, seconds in late.items():
            console.say(f"The oldest due {lane} waits {seconds:.0f} s.")
        for name, reason in status.paused.items():
            console.say(f"Paused: {name or 'everything'} {reason}".rstrip())
        for one in held:
            console.say(_held_text(one))


def _held_text(one: HeldRun) -> str:
    why = (
        f"{one.bounced} of its mails bounced" if one.why == "bounces" else "it has more messages than allowed"
    )
    return (
        f"Run {one.run_id} waits with {one.rows} messages because {why}; look at it, then "
        f"`mycity outbox release {one.run_id}` or `mycity outbox cancel --run {one.run_id}`."
    )


def outbox_retry(delivery_id: Annotated[int | None, typer.Argument()] = None) -> None:
    """Queue failed deliveries again: one, or all."""
    with console.services() as services:
        now = services.clock.now()
        if delivery_id is not None:
            _require_again(services.outbox.get(delivery_id), delivery_id, now)
        ids = None if delivery_id is None else [delivery_id]
        count = services.outbox.retry(ids, now, now + timedelta(hours=14))
        if delivery_id is not None and not count:
            raise UsageError(f"Delivery {delivery_id} changed meanwhile; look at it again.")
        said = f"{count} deliveries are queued again." if count else _NOTHING_AGAIN
        console.say("1 delivery is queued again." if count == 1 else said, queued=count)


_NOTHING_AGAIN = (
    "Nothing is queued again: no delivery of the last day failed that is still of use. Name an older one by "
    "its number; warnings always."
)


def _require_again(row: Delivery | None, delivery_id: int, now: datetime) -> None:
    """Say why a delivery that was named cannot be sent again."""
    if row is None:
        raise UsageError(f"There is no delivery {delivery_id}; `mycity outbox who` lists their numbers.")
    if row.state not in RETRYABLE:
        states = f"{', '.join(RETRYABLE[:-1])} or {RETRYABLE[-1]}"
        raise UsageError(f"Delivery {delivery_id} is {row.state}; only what is {states} can be queued again.")
    if row.channel == "sms" and row.state == "unknown":
        raise UsageError(
            f"Delivery {delivery_id} is a text that may have arrived; if you are sure that it did not, "
            f"`mycity sms resend {delivery_id}`."
        )
    if row.lane == "confirmation" and row.expires_at <= now:
        raise UsageError(
            f"Delivery {delivery_id} is a confirmation whose time is over: its code or link would not work "
            "any more. The person asks for a new one."
        )


Only = Annotated[str, typer.Option(help="Only this channel, e.g. sms; without it everything.")]


def outbox_pause(reason: Annotated[str, typer.Option()] = "", channel: Only = "") -> None:
    """Stop all sending, or one channel, until resumed; alerts as well."""
    with console.services() as services:
        if channel and channel not in services.channels:
            raise UsageError(f"There is no channel {channel!r}; choose from {', '.join(services.channels)}.")
        services.outbox.pause(services.clock.now(), reason, channel)
        what, option = channel or "All sending", f" --channel {channel}" if channel else ""
        console.say(
            f"{what} is paused; `mycity outbox resume{option}` goes on.", paused=True, channel=channel
        )


def outbox_resume(channel: Only = "") -> None:
    """Go on sending."""
    with console.services() as services:
        found = services.outbox.resume(channel)
        still = services.outbox.paused()
        note = f" Still paused: {', '.join(name or 'everything' for name in still)}." if still else ""
        was = "Sending goes on." if found else f"{channel or 'Sending'} was not paused."
        console.say(was + note, paused=bool(still))


def outbox_cancel(
    delivery_id: Annotated[int | None, typer.Argument()] = None,
    run: Annotated[int | None, typer.Option(help="Everything of a run that was not sent yet.")] = None,
    channel: Annotated[str, typer.Option(help="Everything of a channel that waits.")] = "",
) -> None:
    """Cancel a delivery that waits, or all of a run or a channel."""
    if sum((delivery_id is not None, run is not None, bool(channel))) != 1:
        raise UsageError("Name one thing to cancel: a delivery's number, --run RUN or --channel NAME.")
    with console.services() as services:
        now = services.clock.now()
        if run is not None:
            count = services.outbox.cancel_run(run, now)
            console.say(f"{count} deliveries of run {run} are cancelled.", cancelled=count)
            return
        ids = None if delivery_id is None else [delivery_id]
        count = services.outbox.cancel(ids, now, channel=channel)
        if not count and delivery_id is not None:
            raise UsageError(f"Delivery {delivery_id} is not waiting; `mycity outbox status` shows what is.")
        what = f"{count} deliveries by {channel} are" if channel else f"Delivery {delivery_id} is"
        console.say(f"{what} cancelled.", cancelled=count)


def outbox_release(run: int, by: Annotated[str, typer.Option(help="Who decided it.")] = "") -> None:
    """Let a run go on that waits because it is large or because mails bounced."""
    with console.services() as services:
        if run not in {one.run_id for one in services.outbox.held_runs()}:
            raise UsageError(f"Run {run} does not wait; `mycity outbox status` shows what does.")
        count = services.outbox.release(run, services.clock.now(), by)
        console.say(f"{count} deliveries of run {run} go out now.", released=count)


def outbox_sweep() -> None:
    """Look for lost work and put it back: dead senders, missing runs, texts of unknown outcome."""
    with console.services() as services:
        report = sweep(services)
        console.say(
            f"{sum(report.released.values())} taken back, {report.expired} expired, "
            f"{report.receipts} reports applied, {report.settled} texts settled, "
            f"{report.missing} missing runs ({report.planned} planned).",
            **asdict(report),
        )
        if report.failed:
            raise MycityError(f"Not everything could be swept: {', '.join(report.failed)}; see the log.")


def outbox_who(
    notice: Annotated[int | None, typer.Option(help="Number of a notice: who was sent it.")] = None,
    profile: Annotated[int | None, typer.Option(help="Number of a profile: what was sent to it.")] = None,
) -> None:
    """Tell who got a notice, or what a resident got: when, by which channel, through whom."""
    if (notice is None) == (profile is None):
        raise UsageError("Ask for one thing: --notice N or --profile N.")
    with console.services() as services:
        found = who_got(services, notice) if notice is not None else what_came(services, profile or 0)
        if console.options.json:
            console.say("", **asdict(found), total=found.total)
            return
        if found.sums:
            rows = [
                (one.channel, one.provider, one.state, _count(one.count), _local(services, one.last_sent))
                for one in found.sums
            ]
            console.table("Sums 合计", ("channel", "through", "state", "deliveries", "last"), rows, "sums")
        if found.sensitive:
            console.say("The matter is sensitive: nobody is named.")
        elif not found.lines:
            console.say("Nothing was sent.")
        else:
            shown = [
                (
                    one.delivery_id,
                    one.profile_id,
                    one.to,
                    one.channel,
                    one.provider,
                    one.state,
                    _local(services, one.sent_at),
                    why_text(one.error),
                )
                for one in found.lines
            ]
            columns = ("delivery", "profile", "to", "channel", "through", "state", "sent", "why")
            console.table("Deliveries 投递", columns, shown, "lines")


def _local(services: Services, instant: datetime | None) -> str:
    return "" if instant is None else f"{instant.astimezone(services.zone):%Y-%m-%d %H:%M:%S}"


def _count(number: int) -> str:
    return f"< {FEW}" if number < 0 else str(number)


def channels_test(channel: str, address: str) -> None:
    """Send one test message by a channel: email, sms, webhook, webpush, wechat or apprise."""
    with console.services() as services:
        port = services.channels.get(channel)
        if port is None:
            raise UsageError(f"There is no channel {channel!r}; choose from {', '.join(services.channels)}.")
        message = _test_message(services, channel, clean_address(channel, address))
        accepted = port.send(message)
        if isinstance(message, WebhookMessage):
            console.note(f"Signed with {message.secrets[0]}, made for this test.")
        console.say(
            f"Accepted by {accepted.provider}: {accepted.ref}", provider=accepted.provider, ref=accepted.ref
        )


def _test_message(services: Services, channel: str, to: str) -> Message:
    """What a channel is tried with."""
    now = services.clock.now()
    title, text = "MyCity test 测试", "这是一条测试消息。This is a test message."
    out_id, url = f"test-{int(now.timestamp())}", services.settings.base_url
    if channel == "email":
        sender = services.settings.mail_from or f"notices@{services.authority}"
        return MailMessage(to, title, text, f"<p>{text}</p>", f"<{out_id}@{services.authority}>", sender, now)
    if channel == "sms":
        # A template that is registered anyway: providers refuse any other text.
        said = {"example": services.city.name.zh, "phone": services.settings.sms_enquiry_phone}
        return compose_named("help-zh", said, signature=services.city.sms_signature, to=to, out_id=out_id)
    if channel == "webhook":
        body = json.dumps({"type": "test", "title": title, "text": text}, ensure_ascii=False).encode()
        secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
        return WebhookMessage(to, out_id, body, (secret,), 0, out_id)
    if channel == "wechat":
        fields = {
            "title": title[:20],
            "agency": services.city.name.zh,
            "time": now.isoformat(),
            "note": text[:20],
        }
        return WechatMessage(to, fields, url, "zh-Hans", out_id)
    return PushMessage(to, title, text, url, "zh-Hans", out_id)
