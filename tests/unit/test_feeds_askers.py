"""Threads that ask for others: leaving in time, reuse, and the case that all of them hang."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from feeds.kernel.askers import Askers


def test_answers_and_errors_come_back() -> None:
    askers = Askers()

    def fail() -> list[str]:
        raise OSError(-2, "Name or service not known")

    assert askers.ask(lambda: ["1.2.3.4"], 5) == ["1.2.3.4"]
    with pytest.raises(OSError, match="not known"):
        askers.ask(fail, 5)
    assert askers.ask(list, 5) == []


def test_a_thread_is_used_again() -> None:
    askers = Askers()
    names = {askers.ask(lambda: [str(threading.get_ident())], 5)[0] for _ in range(50)}
    assert len(names) == 1


def test_many_at_once_all_get_their_own_answer() -> None:
    askers = Askers(most=5)
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda n: askers.ask(lambda: (time.sleep(0.001), [str(n)])[1], 20), range(400)))
    assert found == [[str(n)] for n in range(400)]
    assert askers._threads == 5 and askers._idle == 5 and askers._unclaimed == 0


def test_hanging_calls_hold_up_nobody_for_longer_than_they_wait() -> None:
    askers, release = Askers(most=3), threading.Event()
    hang = lambda: (release.wait(10), ["x"])[1]  # noqa: E731
    started = time.monotonic()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            askers.ask(hang, 0.05)
    assert time.monotonic() - started < 2
    release.set()
    assert askers.ask(lambda: ["y"], 5) == ["y"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_starts_with_threads_of_its_own() -> None:
    askers = Askers()
    askers.ask(lambda: ["x"], 5)
    child = os.fork()
    if not child:
        os._exit(0 if askers.ask(lambda: ["y"], 2) == ["y"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
