"""Writes the title and the text of a warning, in Chinese or English as fits its language. Pure.

Called by :mod:`feeds.intake.parsers.cap_alert`.
"""

from __future__ import annotations

import html

from feeds.intake.cap_words import UNKNOWN, levels_sentence
from feeds.intake.fields import one_line
from feeds.intake.parsers.cap_info import HAN, Block
from feeds.intake.sanitise import looks_like_html, plain_to_html, strip_markup, to_text

SUMMARY = 300  # characters
_LABELS = {
    True: {"instruction": "防御指南", "areas": "影响区域", "levels": "预警级别", "contact": "联系方式"},
    False: {
        "instruction": "What to do",
        "areas": "Areas concerned",
        "levels": "Levels",
        "contact": "Contact",
    },
}


def title_of(block: Block, chinese: bool) -> str:
    """The publisher's headline; else event, level and areas."""
    if headline := one_line(block.info.say("headline")):
        return headline
    event = one_line(block.info.say("event")) or _first_line(block.info.say("description"))
    areas = ("、" if chinese else "; ").join(area["desc"] for area in block.areas if area["desc"])
    if chinese and "预警" not in event:
        event += (f"{block.colour}色" if block.colour else "") + "预警"
    return f"{event}{'：' if chinese else ': '}{areas}" if areas else event


def _first_line(text: str) -> str:
    return one_line(strip_markup(text))[:80]


def body_of(block: Block, chinese: bool, *, several: bool) -> str:
    """Description, instruction, areas and levels as HTML; the publisher's own HTML is kept for cleaning."""
    info, labels = block.info, _LABELS[chinese]
    parts = []
    if several and (headline := one_line(info.say("headline"))):
        parts.append(f"<h2>{html.escape(headline)}</h2>")
    parts.append(_prose(info.say("description")))
    if instruction := info.say("instruction"):
        parts += [f"<h3>{labels['instruction']}</h3>", _prose(instruction)]
    names = [html.escape(area["desc"]) for area in block.areas if area["desc"]]
    if names:
        parts += [f"<h3>{labels['areas']}</h3>", f"<ul>{''.join(f'<li>{name}</li>' for name in names)}</ul>"]
    if {block.severity, block.urgency, block.certainty} != {UNKNOWN}:
        words = levels_sentence(block.severity, block.urgency, block.certainty, chinese=chinese)
        parts += [f"<h3>{labels['levels']}</h3>", f"<p>{words}</p>"]
    if contact := one_line(info.say("contact")):
        parts += [f"<h3>{labels['contact']}</h3>", f"<p>{html.escape(contact)}</p>"]
    return "\n".join(part for part in parts if part)


def summary_of(block: Block) -> str:
    """What happens and what to do, in one line: what a short message or a list has room for."""
    said = (one_line(to_text(block.info.say(name))) for name in ("description", "instruction"))
    return " ".join(text for text in said if text)[:SUMMARY]


def _prose(text: str) -> str:
    return text if looks_like_html(text) else plain_to_html(text)


def is_chinese(block: Block) -> bool:
    """Whether a block's words are Chinese: by its language, else by its headline."""
    text = block.info.say("headline") + block.info.say("event")
    return block.lang.lower().startswith("zh") or (not block.lang and HAN.search(text) is not None)
