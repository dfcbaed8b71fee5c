"""Keyword rules of a source: what of it is taken, left out, tagged, or shown to an editor first. Pure.

One rule is one line, so that a person can write it in a form or a file:

    include: 住房, 公积金        take only entries that hold one of these
    exclude title: 招聘, 中标    leave out entries whose title holds one of these
    tag theme:0402: 停水+浦东    give the tag where both words stand
    review: 拆迁                 let an editor look first

``,`` means or, ``+`` means and. Words are compared folded (width, case, Traditional = Simplified).
An excluded entry is never taken; where there are include rules, one of them must hold.
Called by :mod:`feeds.intake.prepare`, and by the store of sources to refuse a rule that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from feeds.catalogue.words import one_form
from feeds.kernel.errors import UsageError

Action = Literal["include", "exclude", "tag", "review"]
MAX_RULES = 100
_LINE = re.compile(
    r"(?P<action>[a-z]+)(?P<rest>(?:\s+[^\s:：]+(?:[:：][^\s:：]+)?)*)\s*[:：]\s*(?P<words>.+)", re.I
)
_EXAMPLE = "write it like `exclude title: 招聘, 中标` or `tag theme:0402: 停水`"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line.

    Attributes:
        action: What it does where it holds.
        tag: ``kind:code`` to give; only for ``tag``.
        title_only: Whether only the title is looked at.
        words: Holds if every word of one of these groups is there; folded.
        line: As it was written.
    """

    action: Action
    tag: str
    title_only: bool
    words: tuple[tuple[str, ...], ...]
    line: str

    def holds(self, title: str, text: str) -> bool:
        """Whether it applies to a folded title and a folded text (which includes the title)."""
        where = title if self.title_only else text
        return any(all(word in where for word in group) for group in self.words)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of one entry.

    Attributes:
        skipped: The rule that leaves it out (``"include"`` if none of the include rules holds), or ``""``.
        tags: ``kind:code`` to give, each once, in the order of the rules.
        review: The rule that sends it to an editor, or ``""``.
    """

    skipped: str = ""
    tags: tuple[str, ...] = ()
    review: str = ""


def read_rules(lines: Sequence[str], *, known: Callable[[str], bool] | None = None) -> tuple[Rule, ...]:
    """Read rules; empty lines and lines that begin with ``#`` are left out.

    Args:
        lines: One rule each, at most 100.
        known: Says whether the city has a tag; ``None`` checks nothing.

    Raises:
        UsageError: Naming the first line that cannot be read.
    """
    rules = [
        _rule(line.strip(), known) for line in lines if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(rules) > MAX_RULES:
        raise UsageError(f"A source has at most {MAX_RULES} keyword rules; these are {len(rules)}.")
    return tuple(rules)


def apply_rules(rules: Sequence[Rule], title: str, text: str) -> Verdict:
    """Say what the rules make of an entry.

    Args:
        rules: As read.
        title: Of the entry.
        text: Its plain text; the title need not be in it.
    """
    if not rules:
        return Verdict()
    title = one_form(title)
    whole = f"{title} {one_form(text)}"
    held = [rule for rule in rules if rule.holds(title, whole)]
    actions = {rule.action for rule in held}
    excluded = next((rule.line for rule in held if rule.action == "exclude"), "")
    if excluded:
        return Verdict(skipped=excluded)
    if "include" not in actions and any(rule.action == "include" for rule in rules):
        return Verdict(skipped="include")
    tags = dict.fromkeys(rule.tag for rule in held if rule.action == "tag")
    return Verdict("", tuple(tags), next((rule.line for rule in held if rule.action == "review"), ""))


def _rule(line: str, known: Callable[[str], bool] | None) -> Rule:
    match = _LINE.fullmatch(line)
    action = match["action"].lower() if match else ""
    if match is None or action not in get_args(Action):
        raise UsageError(f"The rule {line[:80]!r} cannot be read; {_EXAMPLE}.")
    rest = match["rest"].split()
    title_only = "title" in rest
    tags = [word for word in rest if word != "title"]
    if (action == "tag") != (len(tags) == 1 and ":" in tags[0]) or (action != "tag" and tags):
        raise UsageError(f"The rule {line[:80]!r} cannot be read; {_EXAMPLE}.")
    tag = tags[0] if tags else ""
    if tag and known is not None and not known(tag):
        raise UsageError(f"The rule {line[:80]!r} gives the tag {tag!r}, which this city does not have.")
    groups = tuple(_group(part) for part in re.split(r"[,，、]", match["words"]))
    words = tuple(group for group in groups if group)
    if not words:
        raise UsageError(f"The rule {line[:80]!r} names no word; {_EXAMPLE}.")
    return Rule(cast(Action, action), tag, title_only, words, line)


def _group(part: str) -> tuple[str, ...]:
    return tuple(folded for word in re.split(r"[+＋]", part) if (folded := one_form(word)))
