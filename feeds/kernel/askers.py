"""A few threads that ask questions which may take for ever, so that whoever wants to know can leave in time.

The system's resolver knows no deadline. A thread for every name would cost more than the rest of a
small request; these threads stay, and a hanging one is left behind. Called by ``feeds.kernel.dialler``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

Call = Callable[[], Sequence[str]]


class _Question:
    __slots__ = ("answer", "call", "done", "error", "left")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.answer: Sequence[str] = ()
        self.error: BaseException | None = None
        self.left = False
        self.done = Lock()
        self.done.acquire()


class Askers:
    """Threads that make one call at a time for others; started as needed, never ended. Thread-safe.

    Args:
        most: Most threads. When all of them hang, later questions wait for one, each to its own limit.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # a child process has none of its parent's threads

    def _reset(self) -> None:
        self._lock = Lock()
        self._questions: SimpleQueue[_Question] = SimpleQueue()
        self._threads = self._idle = self._unclaimed = 0

    def ask(self, call: Call, wait: float) -> Sequence[str]:
        """Make a call in one of the threads and give its answer.

        Raises:
            TimeoutError: If there is none after ``wait`` seconds; the call goes on without us.
            BaseException: Whatever the call raised.
        """
        question = _Question(call)
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                Thread(target=self._work, daemon=True, name="asker").start()
                self._threads += 1
            else:
                self._unclaimed += 1
            self._questions.put(question)
        if not question.done.acquire(timeout=wait):
            question.left = True
            raise TimeoutError
        if question.error:
            raise question.error
        return question.answer

    def _work(self) -> None:
        while True:
            question = self._questions.get()
            if not question.left:
                try:
                    question.answer = question.call()
                except BaseException as error:
                    question.error = error
            with self._lock:  # before the answer, so that whoever asks again finds this thread idle
                if self._unclaimed:
                    self._unclaimed -= 1
                else:
                    self._idle += 1
            question.done.release()
            del question
