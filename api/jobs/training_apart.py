"""Training in a process of its own, so that fitting stops no page and no feed; and when it is due.

The child gets the settings it needs (never the secret key), trains with low priority, says one line of JSON
and ends. One that is killed leaves the model before in use. Called by the scheduler.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import structlog

from api.jobs.training import Trained, train_further, train_model
from api.settings import SECRETS, read_settings
from feeds.catalogue.city_files import load_city
from feeds.kernel.db import Database
from feeds.kernel.errors import MycityError
from feeds.kernel.time import FixedClock, at_local_time, local_date
from recommender.monitor import CLOCKS_APART

if TYPE_CHECKING:
    from api.jobs.notebook import Notes
    from api.wiring import Services
    from recommender.model_file import ModelInfo

Kind = Literal["full", "partial"]
PATIENCE_S = 3600.0
HOURLY = timedelta(minutes=55)
#: A full training that did not succeed is tried again after this long.
AGAIN = timedelta(hours=3)
_PROGRAM = "import sys; sys.path[:] = {path!r}; from api.jobs.training_apart import serve; serve()"

_log = structlog.get_logger(__name__)


class Trainer:
    """Runs one training at a time in a child process.

    Args:
        patience_s: Seconds after which a training is given up.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience = patience_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said_once = self._closed = False

    def able(self) -> bool:
        """Whether the training extra is installed; says once in the log if not."""
        if find_spec("lightfm") is not None:
            return True
        if not self._said_once:
            self._said_once = True
            _log.warning("training_not_installed", do="pip install 'mycity[train]'", goes_on="by rules")
        return False

    def run(self, services: Services, kind: Kind) -> Trained:
        """Train and wait for it.

        Raises:
            MycityError: If it refused, died, or took too long; the model before stays in use.
        """
        order = json.dumps(_order(services, kind)).encode()
        with self._lock:
            if self._closed:
                raise MycityError("The trainer is closed.")
            process = self._process = subprocess.Popen(  # noqa: S603  (our own program)
                [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        try:
            said, _ = process.communicate(order, timeout=self._patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise MycityError(
                f"The training took more than {self._patience:g} seconds and was given up; "
                "the model before stays in use."
            ) from None
        finally:
            self._process = None
        return _answer(said, process.returncode)

    def pid(self) -> int | None:
        """The running child, if any."""
        process = self._process
        return process.pid if process else None

    @property
    def closed(self) -> bool:
        """Whether it trains no more."""
        return self._closed

    def close(self) -> None:
        """End a training under way; nothing of it is kept."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()


def tick_train(services: Services, trainer: Trainer) -> dict[str, int]:
    """Train what is due: everything at night, what is new each hour. Never in the demo."""
    now = services.clock.now()
    notes = services.notebook.read()
    model = None if services.demo else services.models.look().model
    kind = None if services.demo else due(notes, model.info if model else None, now, _night(services, now))
    if kind is None or not trainer.able():
        return {"full": 0, "partial": 0}
    services.notebook.change(**{f"{kind}_tried_at": now})
    try:
        said = trainer.run(services, kind).said
    except MycityError as error:
        if trainer.closed:  # it did not fail: the next start makes it at once
            services.notebook.change(**{f"{kind}_tried_at": getattr(notes, f"{kind}_tried_at")})
            return {"full": 0, "partial": 0}
        services.notebook.change(said=str(error))
        _log.warning("training_refused", kind=kind, why=str(error))
        return {"full": 0, "partial": 0}
    services.notebook.change(said=said, refreshed_at=now)
    return {"full": int(kind == "full"), "partial": int(kind == "partial")}


def due(notes: Notes, info: ModelInfo | None, now: datetime, night: datetime) -> Kind | None:
    """Say what is to be trained now.

    Args:
        notes: What was tried.
        info: Of the model in use, if there is one.
        now: The present.
        night: The latest instant at or before ``now`` at which a night's training begins.
    """
    latest = now + CLOCKS_APART  # what a clock that ran ahead has written must not hold up the right one
    fresh = info is not None and night <= info.full <= latest
    tried = notes.full_tried_at
    if not fresh and (tried is None or tried < night or now - tried >= AGAIN or tried > now):
        return "full"
    if info is None:
        return None
    taught = (info.trained_at, notes.refreshed_at, notes.partial_tried_at)
    last = max((at for at in taught if at is not None and at <= latest), default=None)
    return "partial" if last is not None and now - last >= HOURLY else None


def _night(services: Services, now: datetime) -> datetime:
    today = local_date(now, services.zone)
    night = at_local_time(today, services.settings.train_hour, services.zone)
    if night <= now:
        return night
    return at_local_time(today - timedelta(days=1), services.settings.train_hour, services.zone)


def _order(services: Services, kind: Kind) -> dict[str, Any]:
    """What the child must know: no secrets but the database's address."""
    plain = {
        name: str(value)
        for name in type(services.settings).model_fields
        if name not in SECRETS and (value := getattr(services.settings, name)) != ""
    }
    # The password in the address stands in no argument and no file; it goes through the pipe.
    database = services.database.engine.url.render_as_string(hide_password=False)
    return {"kind": kind, "now": services.clock.now().isoformat(), "settings": plain, "database": database}


def _answer(said: bytes, code: int) -> Trained:
    try:
        found = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        raise MycityError(
            f"The training ended without a word (exit code {code}; out of memory?); "
            "the model before stays in use."
        ) from None
    if "refused" in found:
        raise MycityError(str(found["refused"]))
    return Trained(str(found["version"]), str(found["said"]))


def serve() -> None:
    """Train once; the whole life of a child."""
    from api.wiring import Services

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    os.nice(10)  # those who read come first
    order = json.loads(sys.stdin.buffer.read())
    settings = read_settings({}, **order["settings"])
    city = load_city(settings.city)
    services = Services(
        settings=settings, clock=FixedClock(datetime.fromisoformat(order["now"])),
        database=Database(order["database"]), city=city, zone=ZoneInfo(settings.timezone or city.timezone),
        key=b"",
    )  # fmt: skip
    try:
        answer: dict[str, Any] = asdict(_train(services, order["kind"]))
    except MycityError as error:
        answer = {"refused": str(error)}
    except Exception as error:
        answer = {"refused": f"The training failed ({type(error).__name__}: {str(error)[:200]})."}
    finally:
        services.close()
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _train(services: Services, kind: Kind) -> Trained:
    if kind == "partial":
        return train_further(services)
    model, version = train_model(services)
    return Trained(version, f"Trained {version} from {model.info.rows} pairs; in use now.")
