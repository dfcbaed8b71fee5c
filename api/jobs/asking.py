"""The threads of a polling round: many that ask, and one for each process that reads.

They store nothing. Between them and the writer only so much is under way; whoever gets ahead waits.
Called by ``api.jobs.polling``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from api.wiring import Services
from feeds.intake.fetch import Client
from feeds.intake.ingest import Gathered, Reader, Unread
from feeds.intake.sources import Source

UNDER_WAY = 2  # answers for each asking thread, from asking to landing
TOGETHER = 64  # most answers that land in one transaction …
LINGER_S = 0.1  # … and how long the first of them waits for the others
READ_TOGETHER = 8  # most answers handed to a process at once …
READ_BYTES = 256_000  # … and from how many bytes on no further one is added


@dataclass(frozen=True, slots=True)
class Asked:
    """One source and what asking it came to."""

    source: Source
    found: Gathered | Exception


class Askers:
    """Asks sources, each thread with its own client, and has their answers read.

    Args:
        services: The joined parts.
        sources: Whom to ask; taken one by one, by one thread at a time.
        reader: Reads plain answers, in as many threads as it has processes (``size``); ``None``: whoever
            has asked reads.
        threads: How many ask at a time.
    """

    def __init__(
        self, services: Services, sources: Iterable[Source], reader: Reader | None, threads: int
    ) -> None:
        self._services, self._sources, self._reader = services, iter(sources), reader
        self._unread: SimpleQueue[Unread | None] = SimpleQueue()
        self._done: SimpleQueue[Asked | None] = SimpleQueue()
        self._room = threading.Semaphore(UNDER_WAY * threads)
        self._next, self._over, self._stop = threading.Lock(), threading.Event(), threading.Event()
        self._broken: BaseException | None = None
        services.ingestor  # noqa: B018  (built by one thread, used by all)
        self._asking = threads
        self._threads = [self._thread(self._ask_all, f"asker-{n}") for n in range(threads)]
        self._reading = reader.size if reader else 0
        self._threads += [self._thread(self._read_all, f"reader-{n}") for n in range(self._reading)]

    def results(self) -> Iterator[list[Asked]]:
        """Start, and yield whatever has come, at least one at a time, until every source has been asked."""
        for thread in self._threads:
            thread.start()
        over = False
        while not over:
            some = [self._done.get()]
            # Not woken for each of them: while we sleep, those who ask and read have the interpreter.
            self._over.wait(LINGER_S)
            while len(some) < TOGETHER and some[-1] is not None:
                try:
                    some.append(self._done.get_nowait())
                except Empty:
                    break
            over = some[-1] is None
            if came := [item for item in some if item is not None]:
                yield came
                self._room.release(len(came))
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """Ask nobody any more, and let the threads go; what they still bring is not stored."""
        self._stop.set()
        self._room.release(len(self._threads))

    @staticmethod
    def _thread(work: Callable[[], None], name: str) -> threading.Thread:
        return threading.Thread(target=work, name=name, daemon=True)

    def _ask_all(self) -> None:
        try:
            client = self._services.client()
            while (source := self._take()) is not None:
                found = self._ask(source, client)
                if isinstance(found, Unread):
                    self._unread.put(found)
                else:
                    self._done.put(Asked(source, found))
        except BaseException as error:  # the next source could not be had: the round is over
            self._broken = error
            self._stop.set()
        finally:
            with self._next:
                self._asking -= 1
                last = self._asking == 0
            if last:
                self._unread.put(None)
                if not self._reading:
                    self._end()

    def _ask(self, source: Source, client: Client) -> Gathered | Unread | Exception:
        try:
            ask = self._services.ingestor.ask if self._reader else self._services.ingestor.gather
            return ask(source, client)
        except Exception as error:
            return error

    def _take(self) -> Source | None:
        self._room.acquire()
        with self._next:
            return None if self._stop.is_set() else next(self._sources, None)

    def _read_all(self) -> None:
        assert self._reader is not None  # noqa: S101  (there is one, or no thread of this kind)
        while some := self._some_unread():
            try:
                read = self._services.ingestor.read_many(some, self._reader)
            except Exception as error:
                read = [error] * len(some)
            for one, found in zip(some, read, strict=True):
                self._done.put(Asked(one.source, found))
        with self._next:
            self._reading -= 1
            last = self._reading == 0
        if last:
            self._end()

    def _some_unread(self) -> list[Unread]:
        """Wait for an answer and take some more that are there; none at the end."""
        some: list[Unread] = []
        size = 0
        while len(some) < READ_TOGETHER and size < READ_BYTES and not self._stop.is_set():
            try:
                one = self._unread.get_nowait() if some else self._unread.get()
            except Empty:
                break
            if one is None:
                self._unread.put(None)  # for the other readers
                break
            some.append(one)
            size += len(one.fetched.body)
        return some

    def _end(self) -> None:
        self._over.set()
        self._done.put(None)
