"""The notices that learning and judging are about: what residents could ever see, not only what is in force.

Called by training, watching and judging, so that all three mean the same.
"""

from __future__ import annotations

from dataclasses import replace

from api.wiring import Services
from feeds.catalogue.notices import PUBLIC_STATES, Notice

#: Enough to learn the city's words; more adds time, not quality.
NOTICES_MOST = 20_000


def published(services: Services, *, most: int = NOTICES_MOST) -> list[Notice]:
    """The latest notices that residents could ever see, expired ones too, newest first, without bodies.

    What people did with a notice goes on teaching when its period is over. Of several that are one document
    the lead is given.
    """
    now = services.clock.now()
    return [
        replace(one, content=replace(one.content, body=""))
        for one in services.notices.by_state(PUBLIC_STATES, limit=most)
        if one.lead_id is None and one.fresh_at <= now
    ]
