"""What is registered with the providers: their ids of our templates, their prices, their options. Pure.

Read from one TOML file (``MYCITY_SMS_FILE``); whatever does not fit is said by name. It reads no file
itself and sends nothing. Called by ``api.sms_wiring``, ``api.ops`` and the adapters.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from delivery.compose_sms import TEMPLATES
from delivery.errors import PermanentError
from delivery.types import SmsMessage
from feeds.kernel.errors import UsageError

UNIT = 10_000  # money is counted in ten-thousandths of the account's currency
BY_TEMPLATE = ("aliyun", "tencent")  # these take template and parameters, the others free text
PROVIDERS = ("aliyun", "tencent", "twilio", "smpp")
_SLOT = re.compile(r"\{(\w+)\}")
_EMPTY = "-"  # providers refuse an empty parameter


@dataclass(frozen=True, slots=True)
class Template:
    """A provider's registered template: its id, and our parameters in its order."""

    id: str
    params: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """A registered template with its values in order."""

    id: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider's part of the file.

    Attributes:
        weight: Where its weight rests, 0 to 100.
        prices: Prefix of numbers in E.164 → money for a segment, in :data:`UNIT`; a number without a
            price is never sent to, because it could not be paid for knowingly.
        languages: Whose templates are registered.
        copies: Whether those for copies are.
        options: Everything else, for the adapter.
    """

    name: str
    weight: int
    prices: Mapping[str, int]
    templates: Mapping[str, Template] = field(default_factory=dict)
    languages: tuple[str, ...] = ("zh", "en")
    copies: bool = True
    options: Mapping[str, str] = field(default_factory=dict)

    def price(self, to: str) -> int | None:
        """Money for a segment to this number, by the longest prefix; ``None``: not served."""
        fits = [prefix for prefix in self.prices if to.startswith(prefix)]
        return self.prices[max(fits, key=len)] if fits else None

    def carries(self, message: SmsMessage) -> bool:
        """Whether it has a price for the number and, where needed, the template."""
        known = self.name not in BY_TEMPLATE or registered_name(message.template_id) in self.templates
        return known and self.price(message.to) is not None


@dataclass(frozen=True, slots=True)
class Registration:
    """A text to be registered: our name, its words with the parameters in ``${…}``, and these."""

    name: str
    text: str
    params: tuple[str, ...]


def registered_name(name: str) -> str:
    """A template that never has a link is registered once, without ``-nolink``."""
    base = name.removesuffix("-nolink")
    return name if TEMPLATES.get(base, "{link}").endswith("{link}") else base


def registrations(
    *, link: str, languages: Sequence[str] = ("zh", "en"), copies: bool = True
) -> list[Registration]:
    """List what an operator registers; each text with and without the one link, if there is one."""
    found = []
    for name, words in TEMPLATES.items():
        lang = "zh" if "-zh" in name else "en"
        if lang not in languages or (name.startswith("copy-") and not copies):
            continue
        params = tuple(slot for slot in _SLOT.findall(words) if slot != "link")
        bare = _SLOT.sub(lambda slot: "" if slot[1] == "link" else f"${{{slot[1]}}}", words)
        if not words.endswith("{link}"):
            found.append(Registration(name, bare, params))
            continue
        if link:
            found.append(Registration(name, f"{bare} {link}", params))
        found.append(Registration(f"{name}-nolink", bare, params))
    return found


def missing(provider: Provider, *, link: str) -> list[str]:
    """Our names of templates that this provider's part of the file does not have."""
    if provider.name not in BY_TEMPLATE:
        return []
    needed = registrations(link=link, languages=provider.languages, copies=provider.copies)
    return [item.name for item in needed if item.name not in provider.templates]


def filled(templates: Mapping[str, Template], message: SmsMessage) -> Filled:
    """Give a registered template its values, in its order.

    Raises:
        PermanentError: If it is not registered, or a value is missing.
    """
    template = templates.get(registered_name(message.template_id))
    if template is None or not set(template.params) <= set(message.params):
        raise PermanentError(
            f"The template {message.template_id} has no id in MYCITY_SMS_FILE, or other parameters; "
            "see `mycity sms templates`."
        )
    return Filled(template.id, tuple((name, message.params[name] or _EMPTY) for name in template.params))


def read_providers(text: str) -> dict[str, Provider]:
    """Read the file.

    Raises:
        UsageError: One sentence that names the place.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"MYCITY_SMS_FILE is not valid TOML: {error}.") from error
    unknown = [name for name in data if name not in PROVIDERS]
    if unknown:
        raise UsageError(f"MYCITY_SMS_FILE: [{unknown[0]}] is no provider; there are {', '.join(PROVIDERS)}.")
    return {name: _provider(name, part) for name, part in data.items()}


def _provider(name: str, part: Mapping[str, Any]) -> Provider:
    prices = {str(prefix): _money(name, prefix, value) for prefix, value in _table(part, name, "prices")}
    if not prices:
        raise UsageError(
            f'MYCITY_SMS_FILE: [{name}.prices] is missing; write for example "+86" = 0.045 for a segment.'
        )
    weight = part.get("weight", 50)
    if not isinstance(weight, int) or not 0 <= weight <= 100:
        raise UsageError(f"MYCITY_SMS_FILE: {name}.weight must be a whole number from 0 to 100.")
    languages = tuple(str(lang) for lang in part.get("languages", ("zh", "en")))
    if not languages or not set(languages) <= {"zh", "en"}:
        raise UsageError(f'MYCITY_SMS_FILE: {name}.languages may hold "zh" and "en".')
    templates = {our: _template(name, our, value) for our, value in _table(part, name, "templates")}
    known = ("weight", "languages", "copies", "prices", "templates")
    options = {key: str(value) for key, value in part.items() if key not in known}
    return Provider(name, weight, prices, templates, languages, bool(part.get("copies", True)), options)


def _table(part: Mapping[str, Any], name: str, key: str) -> list[tuple[str, Any]]:
    table = part.get(key, {})
    if not isinstance(table, dict):
        raise UsageError(f"MYCITY_SMS_FILE: [{name}.{key}] must be a table.")
    return list(table.items())


def _money(name: str, prefix: str, value: Any) -> int:
    try:
        money = Decimal(str(value)) * UNIT
        whole = int(money.to_integral_value(rounding="ROUND_CEILING"))
    except (InvalidOperation, OverflowError, ValueError):
        whole = -1
    if whole < 0 or isinstance(value, bool) or not re.fullmatch(r"(\+[0-9]{1,8})?", prefix):
        raise UsageError(
            f"MYCITY_SMS_FILE: [{name}.prices] {prefix!r} must be a prefix such as +86 "
            "with a price such as 0.045."
        )
    return whole


def _template(name: str, our: str, value: Any) -> Template:
    base = our.removesuffix("-nolink")
    if base not in TEMPLATES:
        raise UsageError(
            f"MYCITY_SMS_FILE: [{name}.templates] {our} is none of ours; see `mycity sms templates`."
        )
    slots = tuple(slot for slot in _SLOT.findall(TEMPLATES[base]) if slot != "link")
    given = value if isinstance(value, dict) else {"id": value}
    params = tuple(str(param) for param in given.get("params", slots))
    if not str(given.get("id", "")).strip() or sorted(params) != sorted(slots):
        raise UsageError(
            f"MYCITY_SMS_FILE: [{name}.templates] {our} needs the provider's id and, in its order, "
            f"the parameters {', '.join(slots) or '(none)'}."
        )
    return Template(str(given["id"]).strip(), params)
