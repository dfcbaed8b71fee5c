"""What a warning about a sensitive matter keeps to itself, and who may look at the proof of one."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs import alert_building, alert_proof, joining
from api.jobs.alert_proof import resend
from api.jobs.alerts import relay
from api.jobs.sending import send
from api.wiring import Services
from delivery.alert_outbox import AlertOutbox
from delivery.compose_webhook import compose_webhook
from feeds.catalogue.notices import NewNotice
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database
from feeds.kernel.errors import UsageError
from profiles.types import FollowedPlace
from tests.factories import content, profile
from tests.integration.test_alert_desk import entered
from tests.webfixture import services as joined_services

SECRETS = ("艾滋病", "疾控中心", "0000-5550-0199", "提前结束", "检测点", "sl02")


@pytest.fixture
def made(database: Database, tmp_path: Path) -> Iterator[Services]:
    yield joined_services(database, tmp_path)


def person(made: Services, number: int, *, sms: bool = False, **wish: Any) -> int:
    given = {"phone": f"138000002{number:02}"} if sms else {}
    return joining.join(
        made, profile(places=(FollowedPlace("sl02"),), **wish), digest_hour=9, verified=True,
        email=f"p{number}@shili.example", **given,
    ).profile.id  # fmt: skip


def warned(made: Services, *, quiet: bool) -> int:
    at = made.clock.now()
    words = content(
        title="【示例】艾滋病检测点预警", published=at, kind="warning", phone="0000-5550-0199",
        agency="示例市疾控中心", agency_slug="", expires=at + timedelta(hours=8),
        extra={"cap": {"id": "q", "instruction": "检测点"}},
    )  # fmt: skip
    tags = [Tag("place", "sl02", "cap:area", 1.0), Tag("type", "warning", "t", 1.0)]
    if quiet:
        code = next(code for code in made.city.themes if made.city.is_sensitive(f"theme:{code}"))
        tags.append(Tag("theme", code, "t", 1.0))
    item = NewNotice(words, 7, "q", tuple(tags), "district", "sl02", priority="emergency")
    [number] = made.notices.add([item], at=at)
    relay(made, [number])
    send(made)
    return number


def later(made: Services, minutes: int) -> None:
    made.clock.advance(timedelta(minutes=minutes))  # type: ignore[attr-defined]


def captured(made: Services) -> list[str]:
    found = [one.read_text("utf-8") for one in (made.settings.captured / "sms").glob("*.txt")]
    for one in (made.settings.captured / "email").glob("*.eml"):
        mail = email.message_from_bytes(one.read_bytes(), policy=email.policy.default)
        found.append(str(mail["subject"]))
        found += [mail.get_body((kind,)).get_content() for kind in ("plain", "html")]  # type: ignore[union-attr]
    return found


def test_nothing_that_somebody_wrote_goes_out_at_the_end_of_a_sensitive_warning(made: Services) -> None:
    person(made, 1, sms=True)
    number = warned(made, quiet=True)
    first = captured(made)
    made.notices.set_state(number, "withdrawn", at=made.clock.now(), reason="艾滋病检测点提前结束")
    relay(made, [number])
    send(made)
    texts = captured(made)
    assert len(first) == 4 and len(texts) == 8  # a text, and a mail's subject and two parts, twice
    assert not [secret for text in texts for secret in SECRETS if secret in text]
    assert sum(f"/notices/{number}?ask=1" in text for text in texts) == 4


@pytest.mark.parametrize("quiet", [False, True])
def test_an_emergency_speaks_to_discreet_programs_too_but_not_of_what_is_sensitive(
    made: Services, quiet: bool
) -> None:
    someone = person(made, 1, discreet=True)
    secret = "whsec_" + "A" * 32
    number = warned(made, quiet=quiet)
    digest = alert_building._digest(
        made, made.notices.get(number), made.profiles.get(someone), {"lang": "zh-Hans", "window": [0, 1]}
    )
    body = compose_webhook(
        digest, to="https://x.example/", secrets=[secret], delivery_id=1, profile_id=someone, kind="alert"
    ).body
    data = json.loads(body)["data"]
    assert (data["discreet"], data["count"]) == (False, 1)
    [entry] = data["entries"]
    if quiet:
        assert entry["sensitive"] and not [word for word in SECRETS if word in body.decode()]
    else:
        assert entry["title"] == "【示例】艾滋病检测点预警" and entry["reasons"] == []


def test_the_unconfirmed_of_a_sensitive_warning_are_listed_to_nobody(made: Services) -> None:
    person(made, 1)
    number = warned(made, quiet=True)
    with pytest.raises(UsageError, match="nobody is listed"):
        next(alert_proof.unconfirmed_csv(made, number, made.clock.now()))
    _, editor = entered(made, "示例编辑", "editor")
    assert editor.get(f"/editor/alerts/{number}/unconfirmed.csv").status_code == 403
    page = editor.get(f"/editor/alerts/{number}").text
    assert "unconfirmed.csv" not in page and "&lt;20" in page


def test_the_unconfirmed_are_listed_to_editors_and_whoever_is_on_duty(made: Services) -> None:
    person(made, 1)
    number = warned(made, quiet=False)
    for name, role, status in (("甲", "writer", 403), ("乙", "editor", 200), ("丙", "duty", 200)):
        _, browser = entered(made, name, role)
        assert browser.get(f"/editor/alerts/{number}/unconfirmed.csv").status_code == status, role
        assert ("unconfirmed.csv" in browser.get(f"/editor/alerts/{number}").text) == (status == 200)
    taken = [one["actor"] for one in made.audit.of(number) if one["action"] == "export-unconfirmed"]
    assert len(taken) == 2


def test_a_number_no_database_holds_names_nothing(made: Services) -> None:
    _, editor = entered(made, "示例编辑", "editor")
    for number in ("99999999999999999999", str(2**63), "-1", "0"):
        for path in (
            f"/alerts/{number}.cap", f"/editor/alerts/{number}", f"/editor/alerts/{number}/update",
            f"/editor/alerts/{number}/unconfirmed.csv",
        ):  # fmt: skip
            assert editor.get(path).status_code == 404, path


def test_the_tick_looks_only_at_those_who_can_be_written_to_again(
    made: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = person(made, 1)
    both = [person(made, number, sms=True) for number in (2, 3, 4)]
    warned(made, quiet=False)
    looked: list[list[int]] = []
    original = AlertOutbox.late

    def late(*args: Any, **more: Any) -> Any:
        found = original(*args, **more)
        looked.append([one.profile_id for one in found])
        return found

    monkeypatch.setattr(AlertOutbox, "late", late)
    monkeypatch.setattr(AlertOutbox, "people", lambda *_, **__: pytest.fail("it read the whole city"))
    with made.database.write() as connection:
        connection.exec_driver_sql(
            f"UPDATE delivery SET state = 'delivered' WHERE profile_id = {both[0]} AND channel = 'sms'"
        )
    later(made, 5)
    assert resend(made, made.clock.now()) == 0 and not any(looked)
    later(made, 6)
    assert resend(made, made.clock.now()) == 2
    assert looked == [both[1:], []]
    looked.clear()
    send(made)
    later(made, 1)
    assert resend(made, made.clock.now()) == 0
    assert looked == [[]] and single not in both  # whoever was written to again is not looked at any more
