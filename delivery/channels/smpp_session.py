"""One bound SMPP connection: requests with a window, what the message centre sends us, the pulse.

A thread reads; another hands received messages on and confirms them only once they were taken, so
a receipt that could not be stored comes again. It knows no texts and never connects anew; that is
``delivery.channels.smpp``, its only caller.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue

from delivery.channels import smpp_pdu as pdu
from delivery.channels.smpp_pdu import Packet
from delivery.errors import RetryableError, ThrottledError, UnknownOutcomeError

_TOGETHER = 100
Taker = Callable[[Sequence[Packet]], None]


class Session:
    """A connection over which requests travel in both directions.

    Args:
        line: Connected; the session owns it from now on.
        window: How many submissions may wait for their answer at once.
        answer_seconds: How long to wait for one.
        take: Given received ``deliver_sm`` packets in groups; an exception makes them come again.
    """

    def __init__(self, line: socket.socket, *, window: int, answer_seconds: float, take: Taker) -> None:
        self._line = line
        self._take = take
        self._answer_seconds = answer_seconds
        self._room = threading.BoundedSemaphore(window)
        self._writing = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: dict[int, Future[Packet]] = {}
        self._sequence = 0
        self._received: SimpleQueue[Packet | None] = SimpleQueue()
        self.closed = threading.Event()
        self.heard = time.monotonic()
        self._threads = [
            threading.Thread(target=work, name=f"smpp-{name}", daemon=True)
            for name, work in (("read", self._read), ("take", self._hand_on))
        ]
        for thread in self._threads:
            thread.start()

    def request(self, command: int, body: bytes = b"", *, seconds: float | None = None) -> Packet:
        """Send one request and wait for its answer.

        Raises:
            RetryableError: It did not leave this machine whole.
            ThrottledError: The window stayed full.
            UnknownOutcomeError: It left, and no answer came.
        """
        limit = self._answer_seconds if seconds is None else seconds
        if not self._room.acquire(timeout=limit):
            raise ThrottledError("The message centre has not answered earlier messages yet.", 5)
        try:
            number, answer = self._begin()
            try:
                self._write(Packet(command, 0, number, body))
                return answer.result(limit)
            except TimeoutError as error:
                raise UnknownOutcomeError(
                    f"The message centre did not answer within {limit:g} s; the message may have been taken."
                ) from error
            finally:
                with self._guard:
                    self._waiting.pop(number, None)
        finally:
            self._room.release()

    def pulse(self, quiet_seconds: float) -> None:
        """Ask whether the other side lives, if nothing was heard for a while; close if it does not."""
        if self.closed.is_set() or time.monotonic() - self.heard < quiet_seconds:
            return
        try:
            self.request(pdu.ENQUIRE_LINK)
        except (RetryableError, UnknownOutcomeError):
            self.close()

    def unbind(self) -> None:
        """Say good-bye and close."""
        if not self.closed.is_set():
            with contextlib.suppress(RetryableError, UnknownOutcomeError):
                self.request(pdu.UNBIND, seconds=min(1.0, self._answer_seconds))
        self.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(2)

    def close(self) -> None:
        """Close at once; whoever waits for an answer learns that none will come."""
        with self._guard:
            if self.closed.is_set():
                return
            self.closed.set()
            waiting, self._waiting = dict(self._waiting), {}
        for answer in waiting.values():
            answer.set_exception(
                UnknownOutcomeError("The connection broke before the message centre answered.")
            )
        self._received.put(None)
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def _begin(self) -> tuple[int, Future[Packet]]:
        answer: Future[Packet] = Future()
        with self._guard:
            if self.closed.is_set():
                raise RetryableError("The connection to the message centre is closed; it is opened again.")
            self._sequence = self._sequence % 0x7FFFFFFF + 1
            self._waiting[self._sequence] = answer
            return self._sequence, answer

    def _write(self, packet: Packet) -> None:
        try:
            with self._writing:
                self._line.sendall(packet.encode())
        except OSError as error:
            # Not all of it left, so the other side cannot have understood it.
            self.close()
            raise RetryableError(f"The message centre cannot be written to ({error}).") from error

    def _read(self) -> None:
        try:
            while not self.closed.is_set():
                self._handle(self._packet())
        except (OSError, pdu.BadPacketError, struct.error):
            pass  # every way it can end means the same: this connection is over
        finally:
            self.close()

    def _packet(self) -> Packet:
        length, command, status, number = struct.unpack(">IIII", self._exactly(pdu.HEAD))
        if not pdu.HEAD <= length <= pdu.MAX_LENGTH:
            raise pdu.BadPacketError(f"a packet of {length} bytes")
        body = self._exactly(length - pdu.HEAD)
        self.heard = time.monotonic()
        return Packet(command, status, number, body)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self._line.recv(count - len(data))
            if not more:
                raise pdu.BadPacketError("the connection ended")
            data += more
        return bytes(data)

    def _handle(self, packet: Packet) -> None:
        if packet.command & pdu.RESPONSE:
            with self._guard:
                answer = self._waiting.pop(packet.sequence, None)
            if answer is not None:
                answer.set_result(packet)
        elif packet.command == pdu.DELIVER_SM:
            self._received.put(packet)
        elif packet.command == pdu.ENQUIRE_LINK:
            self._answer(packet)
        elif packet.command == pdu.UNBIND:
            self._answer(packet)
            self.close()
        else:
            self._write(Packet(pdu.GENERIC_NACK, pdu.INVALID_COMMAND, packet.sequence))

    def _answer(self, packet: Packet, status: int = pdu.OK) -> None:
        body = b"\0" if packet.command == pdu.DELIVER_SM else b""
        with contextlib.suppress(RetryableError):
            self._write(Packet(packet.command | pdu.RESPONSE, status, packet.sequence, body))

    def _hand_on(self) -> None:
        while (packet := self._received.get()) is not None:
            group = [packet]
            with contextlib.suppress(Empty):
                while len(group) < _TOGETHER and (more := self._received.get_nowait()) is not None:
                    group.append(more)
            try:
                self._take(group)
                status = pdu.OK
            except Exception:  # whatever hindered us, the message centre keeps them and tries again
                status = pdu.SYSTEM_ERROR
            for taken in group:
                self._answer(taken, status)
            if self.closed.is_set():
                return
