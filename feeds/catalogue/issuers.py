"""Who may have which warnings passed on at once, and up to which severity: the issuer table of a city. Pure.

A city without a table trusts every source that may publish, as far as its own ``release`` goes. Never reads a
file (``feeds.catalogue.city_files`` does) and decides about nobody's rights at the desk but the office's own
to issue. Called at landing, at the desk's own alerts, and by the page that shows the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feeds.catalogue.words import one_form

#: Strongest first; a row's ``most`` is the strongest that it lets through.
SEVERITIES = ("Extreme", "Severe", "Moderate", "Minor", "Unknown")
WHO_KINDS = ("sender", "source", "agency", "office")
ANY = "*"


@dataclass(frozen=True, slots=True)
class IssuerRule:
    """One row: whoever one of ``who`` names may cause warnings of ``events`` up to ``most``.

    Attributes:
        rule: Its name in the table.
        zh, en: Who that is, for people.
        who: ``sender:cap@…`` (the sender in the message), ``source:slug``, ``agency:slug``, or ``office``
            for what this office writes itself.
        events: Words of which one must stand in the event, in any language; ``*`` for every event.
        most: One of :data:`SEVERITIES`.
    """

    rule: str
    zh: str
    en: str
    who: tuple[str, ...]
    events: tuple[str, ...]
    most: str

    def names(self, lang: str) -> str:
        """Who that is, in a language."""
        return self.zh if lang.lower().startswith("zh") else self.en


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a warning may be passed on at once.

    Attributes:
        allowed: Whether it may.
        why: ``no-table``, ``rule`` (then ``rule`` names it), ``issuer`` (nobody in the table), ``event``
            or ``severity`` (known, but not for this).
    """

    allowed: bool
    why: str
    rule: str = ""


def authorised(table: Sequence[IssuerRule], names: Sequence[str], event: str, severity: str) -> Verdict:
    """Say whether somebody may have a warning passed on at once.

    Args:
        table: A city's rows; empty where it has none.
        names: What the issuer is known by, e.g. ``sender:cap@…``, ``source:weather``, ``agency:weather``.
        event: As the message calls it.
        severity: One of :data:`SEVERITIES`; anything else counts as the strongest.
    """
    if not table:
        return Verdict(True, "no-table")
    given = {name.lower() for name in names}
    own = [row for row in table if given & {name.lower() for name in row.who}]
    said = one_form(event)
    fitting = [row for row in own if any(word == ANY or one_form(word) in said for word in row.events)]
    enough = [row for row in fitting if _rank(severity) >= _rank(row.most)]
    if enough:
        return Verdict(True, "rule", enough[0].rule)
    return Verdict(False, "severity" if fitting else "event" if own else "issuer")


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0
