"""Reads untrusted XML into a small tree: no document type, no entity, no inclusion, bounded depth and size.

Pure: expat alone reads the bytes, and expat opens nothing. Whatever would need a second file (a DOCTYPE, an
entity, an XInclude) is refused before it means anything. Called by :mod:`feeds.intake.parsers.cap`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from feeds.intake.types import Oddity
from feeds.kernel.errors import BadInputError

MAX_BYTES = 8_000_000
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000
XINCLUDE = "http://www.w3.org/2001/XInclude"
# XML has no way to write these, but careless programs do.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(slots=True)
class Element:
    """One element: its namespace and name, its attributes (by local name), what is inside.

    Attributes:
        text: Its own text, without that of the elements inside.
    """

    space: str
    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> list[Element]:
        """Elements directly inside that bear this name and this element's own namespace."""
        return [one for one in self.children if one.name == name and one.space == self.space]

    def say(self, name: str) -> str:
        """Text of the first element of this name directly inside, without surrounding space; else ``""``."""
        return next((one.text.strip() for one in self.all(name)), "")

    def walk(self) -> Iterator[Element]:
        """This element and everything inside, in the order of the document."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting.extend(reversed(one.children))


def read_xml(text: str, url: str) -> tuple[Element, list[Oddity]]:
    """Read a document that is already text (its own word about its encoding is not asked again).

    Args:
        text: The whole document.
        url: For messages.

    Returns:
        The root, and an oddity where characters had to be taken out.

    Raises:
        BadInputError: If it is not XML, refers to anything outside itself, or is too deep or too large.
    """
    clean = _ILLEGAL.sub("", text.lstrip("\ufeff").lstrip())
    oddities = []
    if len(clean) < len(text.lstrip("\ufeff").lstrip()):
        message = "The document held characters that XML forbids; they were taken out."
        oddities.append(Oddity(0, "", "control-characters", message))
    data = clean.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise BadInputError(f"{url} has {len(data)} bytes, more than {MAX_BYTES}; ask for a smaller answer.")
    builder = _Builder(url)
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise BadInputError(f"{url} is not XML (line {error.lineno}: {what}); check the address.") from None
    return builder.root, oddities


class _Builder:
    """Collects elements while expat reads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._top = Element("", "", {})
        self._open = [self._top]
        self._count = 0
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 20  # texts come in few pieces, so that joining them stays cheap
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    @property
    def root(self) -> Element:
        return self._top.children[0]

    def _doctype(self, *_: object) -> None:
        raise BadInputError(
            f"{self._url} has a document type, which may pull in other files; it was not read."
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if space == XINCLUDE:
            raise BadInputError(f"{self._url} asks to include other files (XInclude); it was not read.")
        self._count += 1
        if len(self._open) > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise BadInputError(
                f"{self._url} has more than {MAX_DEPTH} elements inside each other or {MAX_ELEMENTS} in all;"
                " no honest document needs them."
            )
        made = Element(space, local, {key.rpartition(" ")[2]: value for key, value in attributes.items()})
        self._open[-1].children.append(made)
        self._open.append(made)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].text += text
