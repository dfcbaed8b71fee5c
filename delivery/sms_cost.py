"""What sending texts will cost, before any is sent. Pure.

Called by ``mycity sms estimate`` and the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from delivery.sms_templates import UNIT, Provider


@dataclass(frozen=True, slots=True)
class Estimate:
    """Money in ten-thousandths.

    Attributes:
        expected: If the providers share the texts by their weights.
        most: If the dearest one takes them all; the budget is reserved text by text, so it never
            comes to more than this.
        unserved: Texts to numbers that no provider has a price for; they would not be sent.
    """

    texts: int
    segments: int
    expected: int
    most: int
    unserved: int


def estimate(
    providers: Mapping[str, Provider],
    weights: Mapping[str, int],
    *,
    segments: int,
    texts: Mapping[str, int],
) -> Estimate:
    """Estimate a sending.

    Args:
        providers: What the operator's file says of each.
        weights: In use now; a provider that is left out stands at rest.
        segments: Of each text.
        texts: Number, or the beginning of one (``+86``) → how many texts.
    """
    expected = most = unserved = served = 0
    for number, count in texts.items():
        priced = [(one, price) for one in providers.values() if (price := one.price(number)) is not None]
        if not priced:
            unserved += count
            continue
        shares = [max(0, weights.get(one.name, one.weight)) for one, _ in priced]
        if not sum(shares):
            shares = [1] * len(priced)
        weighed = sum(share * price for share, (_, price) in zip(shares, priced, strict=True))
        served += count
        expected += -(-count * segments * weighed // sum(shares))
        most += count * segments * max(price for _, price in priced)
    return Estimate(sum(texts.values()), served * segments, expected, most, unserved)


def said(money: int) -> str:
    """An amount as people write it: two places, more only where they are not zero."""
    whole, rest = divmod(abs(money), UNIT)
    places = f"{rest:04d}".rstrip("0").ljust(2, "0")
    return f"{'-' if money < 0 else ''}{whole}.{places}"
