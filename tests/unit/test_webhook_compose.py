"""What a webhook is sent: the JSON of a digest, and a signature that an independent library accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from delivery.compose_webhook import compose_webhook, message, sign
from delivery.errors import PermanentError
from delivery.types import Also, Digest, EntryView
from delivery.webhook_store import new_secret

NOW = datetime(2026, 10, 12, 0, 0, tzinfo=UTC)
ENTRY = EntryView(
    notice_id=17,
    revision=2,
    entry_id="tag:shili.example,2026:notice/17",
    url="https://city.example/notices/17",
    title="【示例】高新技术企业认定奖励申报",
    summary="最高20万元。",
    body_html="<p>正文</p>",
    lang="zh-Hans",
    updated=NOW,
    published=NOW - timedelta(days=1),
    agency="示例市科学技术局",
    source_name="示例市门户",
    source_url="https://sl.example/17",
    licence="CC BY 4.0",
    tags=("企业奖励",),
    reasons=("您关注“企业奖励”",),
    deadline=NOW + timedelta(days=1, hours=9),
    deadline_has_time=True,
    phone="020-0000 1234",
    mark="corrected",
    mark_note="金额应为20万元。",
    also=(Also("示例区", "https://slq.example/3"),),
)
DIGEST = Digest(
    lang="zh-Hans",
    city_name="示例市",
    signature="示例市公告",
    entries=(ENTRY,),
    window_start=NOW - timedelta(days=1),
    window_end=NOW,
    timezone="Asia/Shanghai",
    page_url="https://city.example/me",
    sample=True,
)
SECRET = new_secret()


def made(digest: Digest = DIGEST, *secrets: str) -> dict[str, object]:
    sent = compose_webhook(
        digest, to="https://a.example/hook", secrets=secrets or (SECRET,), delivery_id=5, profile_id=3
    )
    found: dict[str, object] = json.loads(sent.body)
    return found


def test_a_digest_as_json() -> None:
    assert made() == {
        "type": "notices.digest",
        "timestamp": "2026-10-12T00:00:00Z",
        "data": {
            "schema": 1,
            "city": "示例市",
            "lang": "zh-Hans",
            "sample": True,
            "discreet": False,
            "window": {"start": "2026-10-11T00:00:00Z", "end": "2026-10-12T00:00:00Z"},
            "timezone": "Asia/Shanghai",
            "page_url": "https://city.example/me",
            "count": 1,
            "note": "",
            "entries": [
                {
                    "sensitive": False,
                    "id": "tag:shili.example,2026:notice/17",
                    "notice": 17,
                    "revision": 2,
                    "title": "【示例】高新技术企业认定奖励申报",
                    "url": "https://city.example/notices/17",
                    "summary": "最高20万元。",
                    "lang": "zh-Hans",
                    "agency": "示例市科学技术局",
                    "published": "2026-10-11T00:00:00Z",
                    "updated": "2026-10-12T00:00:00Z",
                    "deadline": "2026-10-13T09:00:00Z",
                    "deadline_has_time": True,
                    "phone": "020-0000 1234",
                    "mark": "corrected",
                    "mark_note": "金额应为20万元。",
                    "reasons": ["您关注“企业奖励”"],
                    "tags": ["企业奖励"],
                    "source": {"name": "示例市门户", "url": "https://sl.example/17", "licence": "CC BY 4.0"},
                    "also": [{"name": "示例区", "url": "https://slq.example/3"}],
                }
            ],
        },
    }


@pytest.mark.parametrize("changes", [{"sensitive": True}, {"quiet_subject": True}])
@pytest.mark.parametrize("lang", ["zh-Hans", "en"])
def test_a_sensitive_entry_names_nothing(changes: dict[str, bool], lang: str) -> None:
    found = made(replace(DIGEST, lang=lang, entries=(replace(ENTRY, **changes),)))
    said = json.dumps(found, ensure_ascii=False)
    for word in ("notice/17", "notices/17", "高新", "奖励", "科学技术局", "0000", "20万"):
        assert word not in said
    assert ("您关注的事项有更新" if lang == "zh-Hans" else "An update on something you follow") in said


def test_a_discreet_digest_says_one_sentence() -> None:
    data = made(replace(DIGEST, discreet=True))["data"]
    assert isinstance(data, dict)
    assert (data["entries"], data["count"], data["note"]) == ([], 1, "您关注的事项有更新")


def test_the_same_digest_gives_the_same_bytes_and_another_kind_another_type() -> None:
    def body(**changes: str) -> bytes:
        return compose_webhook(
            DIGEST, to="https://a.example", secrets=[SECRET], delivery_id=5, profile_id=3, **changes
        ).body

    assert body() == body()
    assert json.loads(body(kind="alert"))["type"] == "notices.alert"


def test_nothing_is_sent_empty_or_unsigned() -> None:
    with pytest.raises(PermanentError, match="no entry"):
        made(replace(DIGEST, entries=()))
    with pytest.raises(PermanentError, match="no secret"):
        message("t", {}, at=NOW, to="https://a.example", secrets=(), message_id="m")
    broken = message("t", {}, at=NOW, to="https://a.example", secrets=("whsec_§",), message_id="m")
    with pytest.raises(PermanentError) as error:
        sign(broken, NOW)
    assert "§" not in str(error.value)


def test_an_independent_library_accepts_the_signature_and_nothing_else() -> None:
    # The library holds the timestamp against the machine's clock.
    now = datetime.now(UTC)
    sent = compose_webhook(DIGEST, to="https://a.example", secrets=[SECRET], delivery_id=5, profile_id=3)
    headers = sign(sent, now)
    assert headers["webhook-id"] == "msg_d5"
    assert Webhook(SECRET).verify(sent.body, headers) == json.loads(sent.body)
    for wrong in (
        (new_secret(), sent.body, headers),
        (SECRET, sent.body + b" ", headers),
        (SECRET, sent.body, headers | {"webhook-id": "msg_d6"}),
        (SECRET, sent.body, sign(sent, now - timedelta(minutes=6))),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(wrong[0]).verify(wrong[1], wrong[2])
    theirs = Webhook(SECRET).sign("msg_d5", now, sent.body.decode())
    assert theirs == headers["webhook-signature"]


def test_both_secrets_sign_while_one_is_replaced() -> None:
    now, newer = datetime.now(UTC), new_secret()
    sent = message("t", {"a": 1}, at=now, to="https://a.example", secrets=(newer, SECRET), message_id="m")
    for secret in (SECRET, newer):
        assert Webhook(secret).verify(sent.body, sign(sent, now))
    assert SECRET not in repr(sent) and "a.example" not in repr(sent)
