"""Turns at hosts: how many at once, how far apart, in which order, and what happens to who comes too late."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.kernel.errors import FetchError
from feeds.kernel.hosts import HostBusyError, HostGate


@settings(max_examples=15, deadline=None)
@given(most=st.integers(1, 4), threads=st.integers(1, 24), seed=st.integers(0, 1000))
def test_never_more_than_allowed_and_everybody_gets_a_turn(most: int, threads: int, seed: int) -> None:
    gate, lock, chance = HostGate(most), threading.Lock(), random.Random(seed)
    running: defaultdict[str, int] = defaultdict(int)
    seen: list[int] = []
    hosts = [chance.choice(["a.example", "B.example", "b.EXAMPLE", "c.example"]) for _ in range(60)]

    def work(host: str) -> None:
        with gate.turn(host, time.monotonic() + 20):
            with lock:
                running[host.lower()] += 1
                seen.append(running[host.lower()])
            time.sleep(0.0005)
            with lock:
                running[host.lower()] -= 1

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, hosts))
    assert len(seen) == 60 and max(seen) <= most and gate.busy() == 0


def test_leavers_pass_the_turn_on() -> None:
    """Half of the threads give up early; the others all get their turn, and nothing is left behind."""
    gate, got, late = HostGate(1), [], []

    def work(number: int) -> None:
        try:
            with gate.turn("a", time.monotonic() + (0.01 if number % 2 else 20)):
                time.sleep(0.002)
                got.append(number)
        except HostBusyError:
            late.append(number)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(work, range(200)))
    assert len(got) + len(late) == 200 and {n for n in range(200) if n % 2 == 0} <= set(got)
    assert late and gate.busy() == 0


def test_turns_of_one_host_are_apart_and_other_hosts_do_not_wait() -> None:
    gate, ends = HostGate(4, 0.05), []

    def work(_: int) -> None:
        with gate.turn("a", time.monotonic() + 10):
            ends.append(time.monotonic())

    began = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        waiting = pool.map(work, range(6))
        with gate.turn("b", began + 10):
            assert len(ends) < 6
        list(waiting)
    assert max(ends) - began >= 5 * 0.05


def test_who_came_first_goes_first() -> None:
    gate, order = HostGate(1), []

    def work(number: int) -> None:
        with gate.turn("a", time.monotonic() + 10):
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with gate.turn("a", time.monotonic() + 1):
        for thread in threads:
            thread.start()
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_a_deadline_that_cannot_be_met_is_told_at_once() -> None:
    now = 100.0
    gate = HostGate(2, 5.0, now=lambda: now)
    with gate.turn("a.example", now):
        pass
    with (
        pytest.raises(HostBusyError, match=r"a\.example was not asked: 2 requests at a time"),
        gate.turn("A.example", 104.9),
    ):
        pass
    now = 105.0
    with gate.turn("a.example", 105.0):
        pass
    assert issubclass(HostBusyError, FetchError)


def test_an_error_inside_gives_the_turn_back() -> None:
    gate = HostGate(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.turn("a", time.monotonic() + 1):
            _ = 1 / 0
    assert gate.busy() == 0


def test_idle_hosts_are_forgotten() -> None:
    now = 0.0
    gate = HostGate(1, 1.0, now=lambda: now)
    for number in range(5000):
        now = number * 0.01
        with gate.turn(f"{number}.example", now):
            pass
    assert len(gate._hosts) < 600
