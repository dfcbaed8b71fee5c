"""An alert that a process has put into the outbox and left there goes out with the next tick."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from api.jobs import joining, scheduler
from api.jobs.alerts import take_file
from api.settings import read_settings
from api.wiring import build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import profile

CAP = """<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>SL-1</identifier>
<sender>qx@shili.example</sender><sent>2026-10-12T09:50:00+08:00</sent><status>Actual</status>
<msgType>Alert</msgType><scope>Public</scope><info><language>zh-CN</language><event>台风</event>
<urgency>Expected</urgency><severity>Severe</severity><certainty>Likely</certainty>
<headline>【示例】台风橙色预警</headline><area><areaDesc>示例市</areaDesc></area></info></alert>"""


def test_what_waits_is_sent_although_nothing_is_new(sqlite: Database, tmp_path: Path) -> None:
    clock = FixedClock(datetime.fromisoformat("2026-10-12T10:00+08:00"))
    services = build(read_settings({}, home=tmp_path, city="shili"), clock=clock, database=sqlite, demo=True)
    joining.join(services, profile(places=(FollowedPlace("sl"),)), email="a@shili.example", verified=True)
    file = tmp_path / "warning.cap"
    file.write_text(CAP, encoding="utf-8")
    landed, told = take_file(services, file)
    assert told.messages["email"] == 1 and told.told == {landed.new_ids[0]: 1}
    assert scheduler.tick_alerts(services) == {"notices": 1, "messages": 0, "sent": 1}
    assert scheduler.tick_alerts(services)["sent"] == 0
