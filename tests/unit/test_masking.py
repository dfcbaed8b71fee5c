"""What operators see of addresses: a share, never so much that the rest can be guessed."""

from __future__ import annotations

import pytest

from api.jobs.masking import masked


@pytest.mark.parametrize(
    ("channel", "address", "expected"),
    [
        ("sms", "+8613800000001", "+86****01"),
        ("sms", "+85251234567", "+852****67"),
        ("sms", "+12025550123", "+1****23"),
        ("sms", "+2475123", "+247****3"),  # five digits or fewer: never almost whole
        ("sms", "+29022222", "+290****2"),
        ("sms", "openid", "****"),
        ("email", "lin@mail.shili.example", "l***@m***.example"),
        ("email", "x@y.cn", "***@***.cn"),
        ("webhook", "https://secret.example/token", "****"),
        ("wechat", "openid", "****"),
        ("email", "", ""),
    ],
)
def test_masks(channel: str, address: str, expected: str) -> None:
    assert masked(channel, address) == expected
