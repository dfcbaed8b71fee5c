"""A few processes that read answers for the polling engine, so that thinking stops nobody from asking.

Each is started afresh (never forked), builds the city's :class:`Preparer` once, and is handed a few answers
at a time. One that takes too long or dies is replaced, and only the source it was working for fails.
They store nothing and open no address. Called by ``api.jobs.polling``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING

from feeds.catalogue.city_files import load_city
from feeds.catalogue.tagging import Tagger
from feeds.catalogue.words import cut, one_form
from feeds.intake.prepare import Prepared, Preparer
from feeds.intake.source_types import Source
from feeds.intake.types import Fetched
from feeds.intake.wire import Outcome, pack, unpack
from feeds.kernel.errors import BadInputError, MycityError

if TYPE_CHECKING:  # a process that reads needs nothing of what stores
    from feeds.intake.ingest import Task

PATIENCE_S = 60.0
TASKS_A_LIFE = 5_000  # then a process is replaced, so that nothing a library leaks adds up
_START_S = 60.0
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from api.jobs.workshop import serve; serve({handle}, {city!r})"
)


class Workshop:
    """Reads answers in processes of its own; a :class:`feeds.intake.ingest.Reader` for many threads.

    It works best when no more threads than it has processes ask it, each with a few answers at a time.

    Args:
        city: The city's name or folder; every process loads it by itself.
        size: How many processes; default: one a core, at most four. They start with the first answer.
        patience_s: Seconds after which a process is given up.
    """

    def __init__(self, city: str | Path, *, size: int = 0, patience_s: float = PATIENCE_S) -> None:
        self.size = size or min(os.cpu_count() or 1, 4)
        self._city, self._patience = str(city), patience_s
        self._idle: LifoQueue[_Hand | None] = LifoQueue()  # the last one used has the warmest caches
        self._lock = threading.Lock()
        self._hands: set[_Hand] = set()
        for _ in range(self.size):
            self._idle.put(None)  # a place that nobody has taken yet

    def read(
        self, source: Source, fetched: Fetched, now: datetime, known: Mapping[str, str] | None = None
    ) -> Prepared:
        """Read an answer whole, as :meth:`feeds.intake.prepare.Preparer.read` does; blocks meanwhile.

        Raises:
            BadInputError: If the answer is not what the source promises, or reading it takes too long.
        """
        (found,) = self._read([(source, fetched, now, known)])
        if isinstance(found, Exception):
            raise found
        return found

    def read_many(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Read answers one after the other in one process; blocks meanwhile. Return what came of each.

        If that process dies or takes too long, each is read again by itself, so that only the one which
        is to blame fails.
        """
        if len(tasks) > 1:
            try:
                return self._read(tasks)
            except Exception:  # noqa: S110  (it shows again, where it belongs)
                pass
        return [self._one(task) for task in tasks]

    def _one(self, task: Task) -> Outcome:
        try:
            return self._read([task])[0]
        except Exception as error:
            return error

    def _read(self, tasks: Sequence[Task]) -> list[Outcome]:
        # Packed here: what cannot be packed must not cost a process.
        data = pickle.dumps(tasks, pickle.HIGHEST_PROTOCOL)
        hand = self._idle.get()
        kept: _Hand | None = None
        try:
            hand = hand or self._hire()
            found = hand.do(data, len(tasks), self._patience)
            kept = hand if hand.tasks < TASKS_A_LIFE else None
        except TimeoutError:
            raise BadInputError(
                f"Its answer could not be read within {self._patience:g} seconds and was given up; "
                "look at the kept answer."
            ) from None
        except (EOFError, OSError):
            raise BadInputError(
                "The process that read its answer died (out of memory?); look at the kept answer."
            ) from None
        finally:
            if hand is not None and kept is None:
                self._dismiss(hand)
            self._idle.put(kept)
        return unpack(found)

    def warm(self) -> None:
        """Start every process now and wait until all are ready; otherwise they start when needed."""
        places = [self._idle.get() for _ in range(self.size)]
        hands = [place or self._hire() for place in places]
        for hand in hands:
            with contextlib.suppress(EOFError, OSError, TimeoutError):
                hand.do(pickle.dumps([]), 0, _START_S)
            self._idle.put(hand)

    def pids(self) -> list[int]:
        """Return the ids of the running processes."""
        with self._lock:
            return [hand.process.pid for hand in self._hands]

    def close(self) -> None:
        """End every process; whoever still waits for one is told that it died."""
        with self._lock:
            hands = list(self._hands)
        for hand in hands:
            self._dismiss(hand)

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _hire(self) -> _Hand:
        hand = _Hand(self._city)
        with self._lock:
            self._hands.add(hand)
        return hand

    def _dismiss(self, hand: _Hand) -> None:
        with self._lock:
            self._hands.discard(hand)
        hand.end()


class _Hand:
    """One process and our end of the line to it."""

    def __init__(self, city: str) -> None:
        self.tasks = 0
        self._ready = False
        self.line, theirs = Pipe()
        program = _PROGRAM.format(path=sys.path, handle=theirs.fileno(), city=city)
        # Not multiprocessing's own start: that would load the whole command line into every process.
        self.process = subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, "-c", program], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()

    def do(self, tasks: bytes, count: int, patience_s: float) -> bytes:
        """Hand over some tasks and wait for what comes of them."""
        if not self._ready:  # loading the city is not the source's fault
            self._receive(_START_S)
            self._ready = True
        self.line.send_bytes(tasks)
        self.tasks += count
        return self._receive(patience_s)

    def _receive(self, patience_s: float) -> bytes:
        if not self.line.poll(patience_s):
            raise TimeoutError
        return self.line.recv_bytes()

    def end(self) -> None:
        """Kill the process; it holds nothing that could be lost."""
        self.process.kill()
        self.process.wait()
        self.line.close()


def serve(handle: int, city: str) -> None:
    """Read answers until the line closes; the whole life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the engine's to answer
    line: Connection = Connection(handle)
    made = load_city(city)
    preparer = Preparer(made, Tagger(made))
    cut(one_form("预热"))  # loads the dictionaries now, and not on the first answer's time
    gc.collect()
    gc.freeze()  # dictionaries and rules stay for good: they need not be looked through again and again
    with contextlib.suppress(EOFError, OSError):  # the engine is gone
        line.send_bytes(b"")
        while True:
            tasks = pickle.loads(line.recv_bytes())  # noqa: S301  (from the engine)
            line.send_bytes(pack([_done(preparer, task) for task in tasks]))


def _done(preparer: Preparer, task: Task) -> Outcome:
    try:
        return preparer.read(*task)
    except MycityError as error:
        return type(error)(str(error))
    except Exception as error:
        # A parser's own error says nothing to a person; its name is enough to report it.
        name = f"{type(error).__name__}: {error}"[:200]
        return BadInputError(f"Its answer could not be taken in ({name}); please report it.")
