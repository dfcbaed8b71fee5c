"""Commands about text messages: what to register, what it costs, how the providers do.

Thin shells; the rules are in ``delivery.sms_*``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from api.jobs import texting
from api.ops import console
from api.sms_wiring import read_terms
from delivery.sms_cost import estimate, said
from delivery.sms_pool import SmsPool
from delivery.sms_templates import missing, registrations
from delivery.sms_text import segments
from feeds.kernel.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    group = typer.Typer(no_args_is_help=True, help="Text messages: templates, cost, providers.")
    group.command("templates")(templates)
    group.command("estimate")(estimate_cost)
    group.command("status")(status)
    group.command("resend")(resend)
    group.command("hooks")(hooks)
    app.add_typer(group, name="sms")


def templates(
    language: Annotated[str, typer.Option(help="zh, en, or both with a comma.")] = "zh,en",
    copies: Annotated[bool, typer.Option(help="With the texts of copies for relatives.")] = True,
    check: Annotated[bool, typer.Option("--check", help="Only say what MYCITY_SMS_FILE lacks.")] = False,
) -> None:
    """Print the texts to register with the providers, or say which are not registered yet."""
    with console.services() as services:
        link = services.settings.sms_link
        if check:
            terms = read_terms(services.settings) if services.settings.sms_providers else {}
            absent = {name: missing(one, link=link) for name, one in terms.items()}
            lines = [f"{name}: {', '.join(names) or 'complete'}" for name, names in absent.items()]
            console.say(
                "\n".join(lines) or "MYCITY_SMS_PROVIDERS is empty; texts are captured.", missing=absent
            )
            if any(absent.values()):
                raise typer.Exit(1)
            return
        found = registrations(link=link, languages=language.split(","), copies=copies)
        signature = f"【{services.city.sms_signature}】"
        text = "\n".join(f"{item.name}\t{item.text}" for item in found)
        console.say(
            f"{text}\n\n{len(found)} texts under the signature {signature}; the provider puts it in front.",
            signature=services.city.sms_signature,
            templates=[{"name": item.name, "text": item.text, "params": item.params} for item in found],
        )


def estimate_cost(
    count: Annotated[int, typer.Option(min=1, help="How many texts.")],
    text: Annotated[str, typer.Option(help="The text with its signature; gives the segments.")] = "",
    size: Annotated[int, typer.Option("--segments", min=1, max=10, help="Instead of --text.")] = 1,
    country: Annotated[str, typer.Option(help="Beginning of the numbers.")] = "+86",
) -> None:
    """Say what texts would cost, before any is sent."""
    with console.services() as services:
        terms = read_terms(services.settings)
        size = segments(text, country.startswith("+86")) if text else size
        weights = services.sms_scales.current().weights
        found = estimate(terms, weights, segments=size, texts={country: count})
        month = services.sms_budget.status(services.clock.now())
        console.say(
            f"{found.texts} texts of {size} segments: about {said(found.expected)}, "
            f"at most {said(found.most)}; "
            f"{said(month.left_calm)} is left this month."
            + (f" {found.unserved} of them have no price and would not be sent." if found.unserved else ""),
            segments=found.segments, expected=said(found.expected), most=said(found.most),
            unserved=found.unserved, left=said(month.left_calm),
        )  # fmt: skip


def status() -> None:
    """Show this month's money, the providers' weights and why they moved."""
    with console.services() as services:
        month = services.sms_budget.status(services.clock.now())
        pool = services.channels.get("sms")
        current = services.sms_scales.current()
        names = pool.providers if isinstance(pool, SmsPool) else {}
        weights = {name: current.weights.get(name, one.weight) for name, one in names.items()}
        used = said(month.calm + month.alert)
        lines = [
            f"{month.month}: {used} of {said(month.limits.total)} used or reserved, "
            f"{said(month.left_calm)} left for digests and answers, {said(month.left)} for alerts.",
            f"{month.open_texts} texts are under way or of unknown outcome.",
        ]
        if month.refused_at is not None:
            lines.append(f"Texts had to wait for money, last at {month.refused_at:%Y-%m-%d %H:%M} UTC.")
        lines += [
            f"{name}: weight {weight}, {said(month.by_provider.get(name, 0))}"
            for name, weight in weights.items()
        ]
        lines += [
            f"{one.at:%Y-%m-%d %H:%M} UTC {one.reason}" for one in services.sms_scales.history(5) if one.at
        ]
        console.say(
            "\n".join(lines), month=month.month, used=used, left=said(month.left_calm),
            left_for_alerts=said(month.left), open=month.open_texts, weights=weights,
            waited=str(month.refused_at or ""),
        )  # fmt: skip


def resend(delivery_id: int) -> None:
    """Send a text once more although an earlier attempt may have been taken; its money stays spent."""
    with console.services() as services:
        row, now = services.outbox.get(delivery_id), services.clock.now()
        if row is None or row.channel != "sms" or row.state != "unknown":
            raise UsageError(
                f"Delivery {delivery_id} is no text of unknown outcome; see `mycity outbox status`."
            )
        if now >= row.expires_at:
            raise UsageError(f"Delivery {delivery_id} is too old to be sent once more.")
        services.sms_budget.give_up(f"d{delivery_id}", now)
        services.outbox.retry([delivery_id], now, row.expires_at)
        console.say(f"Delivery {delivery_id} is sent once more.", delivery=delivery_id)


def hooks() -> None:
    """Print the addresses to enter in the providers' consoles; keep them secret."""
    with console.services() as services:
        rows = [(name, texting.hook_address(services, name)) for name in texting.PROVIDERS]
        console.table("SMS hooks 回执地址", ("provider", "address"), rows, "hooks")
