"""The command line: ``mycity …``. Thin shells that call jobs; nothing is decided here.

Every command: one result on the output stream (one JSON object with ``--json``), errors as one
sentence, exit code 0, 1 or 2. ``--now ISO`` sets the clock of any command.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.main import get_command

from api.ops import commands_delivery, commands_notices, commands_people, commands_run, console

app = typer.Typer(
    name="mycity",
    help="MyCity 我的城市: a personal government-notice service.\n\nGlobal options, anywhere on the line: "
    "--json (print one JSON object), --now ISO (set the clock, e.g. 2026-10-12T18:00+08:00).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (commands_run, commands_notices, commands_people, commands_delivery):
    part.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(console.run(_invoke, sys.argv[1:] if arguments is None else arguments))


def _invoke(arguments: list[str]) -> Any:
    command = get_command(app)
    import click

    try:
        return command.main(arguments, prog_name="mycity", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(sys.stdout)
        return 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
