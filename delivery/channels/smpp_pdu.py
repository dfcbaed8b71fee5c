"""The bytes of SMPP 3.4: packets, optional parameters, text codings, parts of a long message. Pure.

Only what a sender of texts needs: bind, submit, deliver, query, enquire, unbind. It never opens a
connection. Called by ``delivery.channels.smpp_session`` and ``delivery.channels.smpp``.

Source: SMPP Protocol Specification 3.4 (sections 4 and 5); 3GPP TS 23.038 (alphabet) and TS 23.040
(the header of concatenated messages).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from delivery.sms_text import GSM_ALPHABET, GSM_EXTENDED, is_gsm, split

BIND_TRANSCEIVER, SUBMIT_SM, DELIVER_SM, QUERY_SM = 0x09, 0x04, 0x05, 0x03
UNBIND, ENQUIRE_LINK, GENERIC_NACK = 0x06, 0x15, 0x80000000
RESPONSE = 0x80000000
MAX_LENGTH = 65536
HEAD = 16

OK = 0
THROTTLED, QUEUE_FULL, SYSTEM_ERROR = 0x58, 0x14, 0x08
INVALID_COMMAND = 0x03
ERRORS: Mapping[int, str] = {
    0x01: "ESME_RINVMSGLEN", 0x02: "ESME_RINVCMDLEN", 0x03: "ESME_RINVCMDID", 0x04: "ESME_RINVBNDSTS",
    0x05: "ESME_RALYBND", 0x08: "ESME_RSYSERR", 0x0A: "ESME_RINVSRCADR", 0x0B: "ESME_RINVDSTADR",
    0x0C: "ESME_RINVMSGID", 0x0D: "ESME_RBINDFAIL", 0x0E: "ESME_RINVPASWD", 0x0F: "ESME_RINVSYSID",
    0x14: "ESME_RMSGQFUL", 0x43: "ESME_RINVESMCLASS", 0x45: "ESME_RSUBMITFAIL",
    0x48: "ESME_RINVSRCTON", 0x50: "ESME_RINVDSTTON", 0x51: "ESME_RINVDSTNPI", 0x58: "ESME_RTHROTTLED",
    0x61: "ESME_RINVSCHED", 0x62: "ESME_RINVEXPIRY", 0x67: "ESME_RQUERYFAIL", 0xFE: "ESME_RDELIVERYFAILURE",
    0xFF: "ESME_RUNKNOWNERR",
}  # fmt: skip

TAG_MESSAGE_PAYLOAD, TAG_RECEIPTED_ID, TAG_MESSAGE_STATE, TAG_NETWORK_ERROR = 0x0424, 0x001E, 0x0427, 0x0423
TAG_REF, TAG_TOTAL, TAG_PART = 0x020C, 0x020E, 0x020F

# State of a message: number in query_sm_resp and in the optional parameter → word in a receipt's text.
STATES: Mapping[int, str] = {
    1: "ENROUTE", 2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 6: "ACCEPTD", 7: "UNKNOWN",
    8: "REJECTD",
}  # fmt: skip

UCS2, GSM, LATIN1 = 8, 0, 3


class BadPacketError(ValueError):
    """What came is not SMPP; the connection cannot be trusted any more."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: ``body`` is everything behind the header of 16 bytes."""

    command: int
    status: int
    sequence: int
    body: bytes = b""

    def encode(self) -> bytes:
        """The packet as it travels."""
        return (
            struct.pack(">IIII", HEAD + len(self.body), self.command, self.status, self.sequence) + self.body
        )


@dataclass(frozen=True, slots=True)
class Short:
    """The body of ``submit_sm`` or ``deliver_sm``.

    Attributes:
        data: The message as bytes, its user data header included.
        options: Optional parameters, tag → value.
    """

    source: str
    destination: str
    data: bytes
    esm_class: int = 0
    coding: int = GSM
    registered: int = 0
    source_type: tuple[int, int] = (0, 0)
    destination_type: tuple[int, int] = (1, 1)
    validity: str = ""
    options: Mapping[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The body's bytes."""
        return b"".join(
            (
                b"\0", bytes(self.source_type), text0(self.source),
                bytes(self.destination_type), text0(self.destination),
                bytes((self.esm_class, 0, 0)), b"\0", text0(self.validity),
                bytes((self.registered, 0, self.coding, 0, len(self.data))), self.data,
                *(struct.pack(">HH", tag, len(value)) + value for tag, value in self.options.items()),
            )
        )  # fmt: skip


def text0(text: str) -> bytes:
    """A string that ends with a zero byte."""
    return text.encode("ascii", "replace").replace(b"\0", b"") + b"\0"


def bind_body(user: str, password: str) -> bytes:
    """The body of a bind; the version is 3.4 and no address range is asked for."""
    return text0(user) + text0(password) + text0("") + bytes((0x34, 0, 0)) + text0("")


def query_body(message_id: str, source: str, source_type: tuple[int, int]) -> bytes:
    """The body of ``query_sm``."""
    return text0(message_id) + bytes(source_type) + text0(source)


class Reader:
    """Reads fields from a body one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def text(self) -> str:
        """A string up to its zero byte."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise BadPacketError("a string has no end")
        value = self._body[self._at : end].decode("latin-1")
        self._at = end + 1
        return value

    def take(self, count: int) -> bytes:
        """The next bytes."""
        value = self._body[self._at : self._at + count]
        if len(value) < count:
            raise BadPacketError("the packet ends too early")
        self._at += count
        return value

    def options(self) -> dict[int, bytes]:
        """All optional parameters that follow; a torn one at the end is left out."""
        found: dict[int, bytes] = {}
        while self._at + 4 <= len(self._body):
            tag, length = struct.unpack(">HH", self.take(4))
            if self._at + length > len(self._body):
                break
            found[tag] = self.take(length)
        return found


def decode_short(body: bytes) -> Short:
    """Read the body of ``submit_sm`` or ``deliver_sm``.

    Raises:
        BadPacketError: If it is torn.
    """
    read = Reader(body)
    read.text()
    source_type = tuple(read.take(2))
    source = read.text()
    destination_type = tuple(read.take(2))
    destination = read.text()
    esm_class = read.take(3)[0]
    read.text()
    validity = read.text()
    registered, _, coding, _, length = read.take(5)
    data = read.take(length)
    options = read.options()
    return Short(
        source, destination, data or options.get(TAG_MESSAGE_PAYLOAD, b""), esm_class, coding, registered,
        (source_type[0], source_type[1]), (destination_type[0], destination_type[1]), validity, options,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a text: header and body in one, and how its characters are written."""

    data: bytes
    coding: int
    has_header: bool


def parts_of(text: str, reference: int, *, domestic: bool) -> list[Part]:
    """Cut a text into parts of a segment each, never inside a visible character.

    Args:
        text: All that is to be read.
        reference: Same for all parts; one byte is used of it.
        domestic: Always UCS-2, as carriers at home expect; abroad the GSM alphabet where it suffices.
    """
    gsm = not domestic and is_gsm(text)
    coding, write = (GSM, gsm_bytes) if gsm else (UCS2, ucs2_bytes)
    pieces = split(text, domestic)
    if len(pieces) == 1:
        return [Part(write(text), coding, False)]
    if len(pieces) > 255:
        raise ValueError("a text of more than 255 parts cannot be sent")
    total = len(pieces)
    return [
        Part(bytes((5, 0, 3, reference % 256, total, number)) + write(piece), coding, True)
        for number, piece in enumerate(pieces, 1)
    ]


def ucs2_bytes(text: str) -> bytes:
    """UTF-16, big end first, as data coding 8 is understood everywhere."""
    return text.encode("utf-16-be", "replace")


def gsm_bytes(text: str) -> bytes:
    """The GSM alphabet, a byte for each character (the message centre packs them)."""
    return bytes(_gsm_codes(text))


def _gsm_codes(text: str) -> Iterator[int]:
    for char in text:
        if char in GSM_EXTENDED:
            yield from (0x1B, GSM_EXTENDED[char])
        else:
            yield GSM_ALPHABET.index(char)


def text_of(data: bytes, coding: int) -> str:
    """Read received bytes as text; what cannot be read becomes a mark, never an error."""
    if coding == UCS2:
        return data[: len(data) // 2 * 2].decode("utf-16-be", "replace")
    if coding in (GSM, 1):
        return _gsm_text(data)
    return data.decode("gb18030" if coding == 15 else "latin-1", "replace")


def _gsm_text(data: bytes) -> str:
    extended = {code: char for char, code in GSM_EXTENDED.items()}
    out: list[str] = []
    escaped = False
    for code in data:
        if code == 0x1B and not escaped:
            escaped = True
            continue
        if escaped:
            out.append(extended.get(code, " "))
        else:
            out.append(GSM_ALPHABET[code] if code < 128 else chr(code))
        escaped = False
    return "".join(out)


def part_of(short: Short) -> tuple[bytes, int, int, int]:
    """Take a received message apart: body, reference, how many parts, which one (1, 1 if alone)."""
    if not short.esm_class & 0x40 or not short.data:
        numbers = [
            int.from_bytes(short.options.get(tag, b""), "big") for tag in (TAG_REF, TAG_TOTAL, TAG_PART)
        ]
        return (short.data, *numbers) if numbers[1] > 1 and numbers[2] else (short.data, 0, 1, 1)  # type: ignore[return-value]
    end = 1 + short.data[0]
    header, body = short.data[1:end], short.data[end:]
    while len(header) >= 2:
        kind, length = header[0], header[1]
        value, header = header[2 : 2 + length], header[2 + length :]
        if kind in (0, 8) and len(value) == (3 if kind == 0 else 4) and value[-1]:
            return body, int.from_bytes(value[:-2], "big"), value[-2], value[-1]
    return body, 0, 1, 1
