"""The command line: ``mycity …``. Thin shells that call jobs; nothing is decided here.

Every command: one result on the output stream (one JSON object with ``--json``), errors as one
sentence, exit code 0, 1 or 2. ``--now ISO`` sets the clock of any command.
"""

from __future__ import annotations

import sys

import typer

from api.ops import (
    commands_channels,
    commands_delivery,
    commands_digests,
    commands_evaluate,
    commands_mail,
    commands_model,
    commands_notices,
    commands_people,
    commands_run,
    commands_sms,
    commands_sources,
    console,
)

app = typer.Typer(
    name="mycity",
    help="MyCity 我的城市: a personal government-notice service.\n\nGlobal options, anywhere on the line: "
    "--json (print one JSON object), --now ISO (set the clock, e.g. 2026-10-12T18:00+08:00).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (
    commands_run,
    commands_sources,
    commands_notices,
    commands_people,
    commands_delivery,
    commands_digests,
    commands_channels,
    commands_sms,
    commands_model,
    commands_evaluate,
    commands_mail,
):
    part.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(console.run(_invoke, sys.argv[1:] if arguments is None else arguments))


def _invoke(arguments: list[str]) -> int:
    try:
        app(arguments, prog_name="mycity")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
