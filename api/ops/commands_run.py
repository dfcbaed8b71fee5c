"""Commands that run the service: demo, serve, scheduler, worker, migrate, doctor, select."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from api.jobs.scheduler import start as start_timer
from api.jobs.selecting import select_all, select_for
from api.jobs.sending import send
from api.jobs.worker import Worker
from api.ops import console, doctor
from api.ops import demo as demo_city
from api.settings import read_settings
from api.wiring import Services
from feeds.kernel.errors import UsageError

_BARS = {"ingest": "Reading notices 读取公告", "select": "Choosing 挑选"}


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(demo)
    app.command()(serve)
    app.command()(scheduler)
    app.command()(worker)
    app.command()(migrate)
    app.command("doctor")(doctor_)
    app.command()(select)


def demo(
    data: Annotated[
        Path | None, typer.Option(help="A notice file (JSON Lines or CSV) instead of the sample city.")
    ] = None,
    city: Annotated[str, typer.Option(help="Whose vocabulary: shili, shanghai or a folder.")] = "",
    port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = 8000,
    once: Annotated[bool, typer.Option("--once", help="Write the results and exit.")] = False,
) -> None:
    """Show the demo city in a browser, or with --once write its feeds, mails and report."""
    home = read_settings().home
    base_url = f"http://127.0.0.1:{port}"
    if not once:
        _port_is_free(port)
    wanted: dict[str, Any] = {"data": data, "city": city, "now": console.instant(), "base_url": base_url}
    made = None if once else demo_city.reopen(home, **wanted)
    if made is None:
        with console.progress(_BARS) as progress:
            made = demo_city.prepare(home, **wanted, progress=progress)
    if once:
        _say_report(made)
        made.services.close()
        return
    _say_addresses(made, base_url)
    _serve(demo_city.run_on(made), port, timer=False, sender=True)  # into /captured only


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    timer: Annotated[bool, typer.Option(help="Also run the scheduler in this process.")] = True,
) -> None:
    """Serve pages and feeds; polls, selects and sends as well unless --no-timer."""
    _port_is_free(port, host)
    with console.services() as services:
        console.note(f"Serving {services.city.name.zh} at http://{host}:{port} (stop with Ctrl-C)")
        if not services.settings.base_url.endswith(f":{port}"):
            console.note(f"Links begin with {services.settings.base_url}; MYCITY_BASE_URL changes that.")
        _serve(services, port, host=host, timer=timer)


def scheduler() -> None:
    """Run only the scheduler: polls, selection, digests, housekeeping."""
    with console.services() as services:
        stop = start_timer(services)
        console.note("The scheduler is running; stop it with Ctrl-C.")
        _until_stopped()
        stop()


def worker(
    once: Annotated[bool, typer.Option("--once", help="Send what is due now and exit.")] = False,
    seconds: Annotated[float, typer.Option(help="Pause between looks for digests.", min=0.1)] = 5.0,
) -> None:
    """Send what the outbox holds, until stopped."""
    with console.services() as services:
        stopped = _stop_event()
        sent = 0
        if once:
            while (report := send(services, stop=stopped)).claimed and not stopped.is_set():
                sent += report.sent
        else:
            running = Worker(services, calm_seconds=seconds).start()
            stopped.wait()
            running.stop()
            sent = running.sent
        console.say(f"Sent {sent} messages.", sent=sent)


def migrate() -> None:
    """Bring the database to the newest schema."""
    from api.ops.migrate import migrate as upgrade

    with console.services() as services:
        before, after = upgrade(services.database)
        while services.notices.backfill_identities():  # of notices that were stored before 0002
            continue
        fixed = f"tag:{services.authority},{services.year}"
    message = (
        f"The database stands at {after}."
        if before == after
        else f"Migrated from {before or 'an empty database'} to {after}."
    )
    console.say(f"{message} Entry ids begin with {fixed}.", before=before, after=after, entry_ids=fixed)


def doctor_() -> None:
    """Check that this installation can run, and say what to do where it cannot."""
    findings = doctor.examine(read_settings())
    rows = [(item.name, item.status, item.message) for item in findings]
    console.table("Doctor 体检", ("check", "status", "message"), rows, "checks")
    if not console.options.json:
        for item in findings:
            if item.line:
                console.say(item.line)  # outside the table, which would break it
    if any(item.status == "bad" for item in findings):
        raise typer.Exit(1)


def select(
    profile: Annotated[int | None, typer.Option(help="Only this profile.")] = None,
) -> None:
    """Choose new editions for everybody, or for one profile."""
    with console.services() as services, console.progress(_BARS) as progress:
        if profile is not None:
            services.profiles.get(profile)
            report = select_for(services, [profile])
        else:
            total = services.profiles.count()
            report = select_all(services, progress=lambda done: progress("select", done, total))
        console.say(
            f"{report.profiles} profiles, {report.editions} editions, {report.picks} picks "
            f"in {report.seconds:.2f} s.",
            profiles=report.profiles,
            editions=report.editions,
            picks=report.picks,
            seconds=round(report.seconds, 3),
            conflicts=report.conflicts,
        )


def _serve(
    services: Services, port: int, *, host: str = "127.0.0.1", timer: bool, sender: bool = False
) -> None:
    """Serve until stopped; ``sender`` runs the worker alone, without polls and plans."""
    import uvicorn

    from api.feed_asgi import FeedPath
    from api.web.app import create_app

    stop = start_timer(services) if timer else Worker(services).start().stop if sender else None
    application: Any = FeedPath(services, create_app(services))
    try:
        # No access log: a personal feed's address is a secret.
        uvicorn.run(
            application, host=host, port=port, log_level="warning", access_log=False, server_header=False
        )
    finally:
        if stop is not None:
            stop()
        services.close()


def _port_is_free(port: int, host: str = "127.0.0.1") -> None:
    """Say in one sentence that a port is taken, before anything is set up."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"Port {port} is taken by another program; choose another with --port."
                ) from error
            raise UsageError(
                f"Cannot listen on {host}:{port} ({error.strerror}); choose another with --port."
            ) from error


def _say_report(made: demo_city.Demo) -> None:
    report = made.report.to_dict()
    if console.options.json:
        console.say("", **report)
        return
    console.say(f"{made.services.city.name.zh} {made.services.city.name.en} · {report['clock']}")
    for name, value in report["counts"].items():
        console.say(f"  {name}: {value}")
    for name, value in report["seconds"].items():
        console.say(f"  {name}: {value} s")
    for resident in report["residents"]:
        console.say(f"{resident['role']}: {resident['entries']} entries")
        for entry in resident["first"]:
            console.say(f"  - {entry['title']}  [{'；'.join(entry['reasons'])}]")
    console.say(f"{report['simulated']}\nWritten to {made.services.settings.home}")


def _say_addresses(made: demo_city.Demo, base_url: str) -> None:
    console.note(
        f"{made.services.city.name.zh} {made.services.city.name.en} is open at {base_url}  (stop with Ctrl-C)"
    )
    for resident in made.secrets["residents"]:
        console.note(f"  {resident['name']}: {base_url}/f/{resident['feed_token']}.rss")
        console.note(f"      manage 管理: {base_url}/me/enter/{resident['manage_secret']}")
    for member in made.secrets["staff"]:
        console.note(f"  {member['name']}: {base_url}/editor/  access key 登录码 {member['access_key']}")
    console.note(f"  captured mail and SMS 模拟外发: {base_url}/captured")


def _stop_event() -> threading.Event:
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    return stopped


def _until_stopped() -> None:
    stopped = _stop_event()
    while not stopped.wait(1.0):
        pass
