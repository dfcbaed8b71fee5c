"""Commands about mail: a key for signatures, a bounce from the mail server's pipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.jobs.mailroom import take_one, tick_mailroom
from api.mailing import dkim_domain
from api.ops import console
from api.settings import read_settings
from delivery.bounce_reports import MOST_BYTES
from delivery.dkim import DkimKey, key_pem, new_key
from feeds.kernel.errors import UsageError

_TXT_MOST = 255


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    mail = typer.Typer(no_args_is_help=True, help="Signatures and bounces of mails.")
    mail.command("dkim-new")(dkim_new)
    mail.command("dkim-record")(dkim_record)
    mail.command("bounce")(bounce)
    mail.command("collect")(collect)
    app.add_typer(mail, name="mail")


def dkim_new(
    selector: Annotated[str, typer.Argument(help="Name of the key, e.g. 2026a.")],
    kind: Annotated[str, typer.Option(help="rsa or ed25519.")] = "rsa",
    file: Annotated[Path | None, typer.Option(help="Default: <home>/dkim/SELECTOR.pem.")] = None,
) -> None:
    """Make a key for signing mails, and print the DNS record that publishes it."""
    settings = read_settings()
    path = file or settings.home / "dkim" / f"{selector}.pem"
    key = DkimKey(selector, new_key(kind))
    if path.exists():
        raise UsageError(f"{path} is there already; choose another selector, so that mails in transit hold.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        target.write(key_pem(key.key))
    _say_record(key, dkim_domain(settings), path)


def dkim_record(selector: str, file: Path) -> None:
    """Print the DNS record of a key that is there."""
    from delivery.dkim import read_keys

    settings = read_settings()
    (key,) = read_keys(f"{selector}={file}", Path.cwd())
    _say_record(key, dkim_domain(settings), file)


def _say_record(key: DkimKey, domain: str, path: Path) -> None:
    name = f"{key.selector}._domainkey.{domain or 'YOUR.DOMAIN'}."
    record = key.record()
    quoted = " ".join(f'"{record[at : at + _TXT_MOST]}"' for at in range(0, len(record), _TXT_MOST))
    console.say(
        f"Publish this record, then set MYCITY_DKIM_KEYS={key.selector}={path.resolve()} (commas between):\n"
        f"{name} 3600 IN TXT ( {quoted} )",
        name=name,
        record=record,
        file=str(path.resolve()),
    )


def bounce(
    file: Annotated[str, typer.Argument(help="A mail, or - for the input stream.")] = "-",
    recipient: Annotated[
        str, typer.Option(help="The envelope's recipient, if the mail server tells it.")
    ] = "",
) -> None:
    """Take in one mail that came back."""
    if file == "-":
        raw = sys.stdin.buffer.read(MOST_BYTES)
        while sys.stdin.buffer.read(65_536):  # the mail server's pipe wants all of it to be read
            pass
    else:
        try:
            with Path(file).open("rb") as source:
                raw = source.read(MOST_BYTES)
        except OSError as error:
            raise UsageError(f"{file} cannot be read ({error.strerror}).") from error
    with console.services() as services:
        verdict = take_one(services, raw, recipient=recipient)
        console.say(f"The mail says: {verdict}.", verdict=verdict)


def collect() -> None:
    """Take in what waits in the mailbox of MYCITY_BOUNCE_URL."""
    with console.services() as services:
        if not services.settings.bounce_url:
            raise UsageError("MYCITY_BOUNCE_URL is not set; name the Maildir or POP3 mailbox of the bounces.")
        report = tick_mailroom(services)
        console.say(
            f"{report.read} mails read, {report.ignored} report nothing, {report.strange} are not ours.",
            read=report.read,
            verdicts=dict(report.verdicts),
            ignored=report.ignored,
            strange=report.strange,
        )
