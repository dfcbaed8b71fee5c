"""Commands about channels: whom each can reach, and the menu of the WeChat account."""

from __future__ import annotations

from typing import Annotated

import typer

from api.jobs import wechat
from api.jobs.reaching import overview
from api.ops import console
from feeds.kernel.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command("reach")(reach)
    group = typer.Typer(no_args_is_help=True, help="The WeChat account.")
    group.command("menu")(wechat_menu)
    app.add_typer(group, name="wechat")


def reach(
    tag: Annotated[list[str] | None, typer.Option(help="Only who named this, e.g. role:citizen.")] = None,
) -> None:
    """Count whom each channel can reach now, and what one message to all of them would cost."""
    with console.services() as services:
        for one in tag or ():
            if not services.city.known(one):
                near = ", ".join(services.city.suggest(one)) or "see /api/v1/vocabulary"
                raise UsageError(f"{services.city.name.en} does not know {one!r}; nearest: {near}.")
        found = overview(services, tag or ())
        if found.hidden:
            console.say("Fewer than 20 people; counts of something sensitive are not told.", hidden=True)
            return
        rows = [
            (
                one.name, "real" if one.real else "captured",
                *(("<20",) * 4 if one.hidden else
                  (one.reach.live, one.reach.reachable, one.reach.unconfirmed, one.reach.suppressed)),
                "?" if one.cost is None else f"{one.cost:.2f}",
            )
            for one in found.channels
        ]  # fmt: skip
        heads = ("channel", "state", "live", "reachable", "unconfirmed", "suppressed", "cost")
        console.table(
            f"Reach 送达范围: {found.people} people, {found.silent} without", heads, rows, "channels"
        )


def wechat_menu() -> None:
    """Give the official account its menu: read, my city, join and stop."""
    with console.services() as services:
        channel = services.channels["wechat"]
        if channel.name != "wechat":
            raise UsageError(
                "WeChat is not set up; set MYCITY_WECHAT_APP_ID, MYCITY_WECHAT_SECRET and "
                "MYCITY_WECHAT_TEMPLATE."
            )
        from delivery.channels.wechat import WechatChannel

        if isinstance(channel, WechatChannel):
            channel.set_menu(wechat.menu(services.settings.base_url))
        console.say("The menu is set; readers see it within a day.", set=True)
