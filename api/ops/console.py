"""What every command shares: output, progress, errors as one sentence, the two global options.

Called by ``api.ops.cli`` only. Progress goes to the error stream of a terminal and is silent in a
pipe; results go to the output stream.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from api.settings import Settings, read_settings
from api.wiring import Services, build
from feeds.kernel.errors import MycityError, UsageError
from feeds.kernel.time import Clock, FixedClock, SystemClock, parse_instant


@dataclass
class Options:
    """The two global options, which may stand anywhere on the line."""

    now: str = ""
    json: bool = False


options = Options()


def take_global(arguments: Sequence[str]) -> list[str]:
    """Take ``--json`` and ``--now ISO`` from wherever they stand; return the rest.

    Raises:
        UsageError: If ``--now`` has no value.
    """
    options.now, options.json = "", False
    rest: list[str] = []
    items = iter(arguments)
    for item in items:
        if item == "--json":
            options.json = True
        elif item == "--now":
            options.now = next(items, "")
            if not options.now:
                raise UsageError("--now needs a time such as 2026-10-12T18:00+08:00.")
        elif item.startswith("--now="):
            options.now = item.partition("=")[2]
        else:
            rest.append(item)
    return rest


def instant() -> datetime | None:
    """Return the instant of ``--now``, if given.

    Raises:
        UsageError: If it is not ISO 8601.
    """
    if not options.now:
        return None
    try:
        return parse_instant(options.now, ZoneInfo("Asia/Shanghai"))
    except ValueError as error:
        raise UsageError(
            f"--now {options.now!r} is not a time; write it like 2026-10-12T18:00+08:00."
        ) from error


def clock() -> Clock:
    """Return the clock of ``--now``, else the machine's."""
    at = instant()
    return SystemClock() if at is None else FixedClock(at)


@contextmanager
def services(settings: Settings | None = None) -> Iterator[Services]:
    """Join the parts for one command and release them after it."""
    joined = build(settings or read_settings(), clock=clock())
    try:
        yield joined
    finally:
        joined.close()


def say(message: str, **values: Any) -> None:
    """Print a result: the sentence, or with ``--json`` the values as one object."""
    if options.json:
        print(json.dumps(values or {"message": message}, ensure_ascii=False, default=str))  # noqa: T201
    else:
        Console(soft_wrap=True, highlight=False).print(message, markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], key: str) -> None:
    """Print rows as a table, or with ``--json`` as one object with a list under ``key``."""
    if options.json:
        say("", **{key: [dict(zip(columns, row, strict=True)) for row in rows]})
        return
    drawn = Table(title=title, title_justify="left")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))  # brackets are text here, not markup
    Console().print(drawn)


def note(message: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(message, markup=False)


@contextmanager
def progress(labels: Mapping[str, str]) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a stage on a terminal; yield a function (stage, done, total)."""
    console = Console(stderr=True)
    if not console.is_terminal or options.json:
        yield lambda _stage, _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(labels.get(stage, stage), total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


def quiet_logs() -> None:
    """Send log lines to the error stream, so that results can be piped."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def run(command: Callable[[list[str]], Any], arguments: Sequence[str]) -> int:
    """Run a command line; return its exit code: 0 done, 1 failed, 2 wrong usage.

    Errors are one sentence on the error stream, never a traceback.
    """
    quiet_logs()
    try:
        result = command(take_global(arguments))
        return int(result or 0)
    except UsageError as error:
        return _fail(str(error), 2)
    except MycityError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("Stopped. What was finished is kept; run the command again to go on.", 130)
    except BrokenPipeError:
        return 0
    except OSError as error:
        return _fail(_os_sentence(error), 1)
    except Exception as error:
        where = _last_frame(error)
        return _fail(f"An error of ours ({type(error).__name__}: {error}; {where}); please report it.", 1)


def _fail(sentence: str, code: int) -> int:
    if options.json:
        print(json.dumps({"error": sentence}, ensure_ascii=False))  # noqa: T201
    print(f"mycity: {sentence}", file=sys.stderr)  # noqa: T201
    return code


def _os_sentence(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"The disk is full{place}; free some space and run the command again, finished steps are kept."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"Not allowed to write here{place}; check the folder's rights or set MYCITY_HOME to another one."
        )
    return f"{error.strerror or error}{place}; check the path and run the command again."


def _last_frame(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "place unknown"
    return f"{trace.tb_frame.f_code.co_name} line {trace.tb_lineno}"
