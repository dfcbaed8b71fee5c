"""What an editor does with sources and with what waits for them: poll now, pause, release; take a change.

Decides who may (the role ``editor``), and leaves a row in the audit for each step. Called by the pages
under ``/editor/sources`` and ``/editor/changes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from feeds.catalogue.notices import Notice, NoticeContent, Priority
from feeds.catalogue.tagging import EDITOR
from feeds.desk.staff import Actor
from feeds.intake.normalise import Declared
from feeds.intake.prepare import Row
from feeds.intake.sanitise import to_text
from feeds.intake.sources import Source
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from api.wiring import Services

_MOST = 10_000
_STEPS: Mapping[str, Callable[[Services, str], Any]] = {
    # A change of nothing: due at once, and read again even if the same bytes come.
    "poll": lambda services, slug: services.sources.change(slug, at=services.clock.now()),
    "pause": lambda services, slug: services.sources.pause(slug, True),
    "resume": lambda services, slug: services.sources.pause(slug, False),
    "release": lambda services, slug: services.sources.release(slug, at=services.clock.now()),
}


@dataclass(frozen=True, slots=True)
class Pending:
    """A change of a public notice that waits for an editor.

    Attributes:
        content: What its source now says.
        reason: Why it was not taken at once; the codes of ``feeds.intake.prepare.Row.hold``.
        priority: The one it would have from then on; ``None`` leaves it as it is.
    """

    notice: Notice
    content: NoticeContent
    at: datetime
    reason: str
    priority: Priority | None = None


def oversee(services: Services, slug: str, step: str, actor: Actor) -> Source:
    """Do one step with a source: ``poll`` (due at once), ``pause``, ``resume`` or ``release``.

    Raises:
        NotFoundError: If there is no such source.
        UsageError: If there is no such step, it does not fit the source, or the actor is no editor.
    """
    _require(actor, "manage sources")
    source = services.sources.by_slug(slug)
    if step not in _STEPS or source.url is None:
        raise UsageError(f"There is no step {step[:20]!r} for this source.")
    if step == "release" and source.held_at is None:
        raise UsageError("This source is not held; there is nothing to release.")
    _STEPS[step](services, slug)
    _log(services, f"source-{step}", actor, None, source=slug)
    return services.sources.by_slug(slug)


def pending(services: Services, *, limit: int = 200) -> list[Pending]:
    """List the changes that wait, oldest first; of notices that are still public."""
    found = services.notices.pending_changes(limit)
    notices = services.notices.many(one.notice_id for one in found)
    return [
        Pending(notice, one.content, one.at, one.reason, one.priority)
        for one in found
        if (notice := notices.get(one.notice_id)) is not None and notice.state != "purged"
    ]


def pending_of(services: Services, notice_id: int) -> Pending:
    """Return the change of one notice.

    Raises:
        NotFoundError: If none waits.
    """
    found = next((one for one in pending(services, limit=_MOST) if one.notice.id == notice_id), None)
    if found is None:
        raise NotFoundError(f"No change of notice {notice_id} waits; somebody may have decided already.")
    return found


def take_change(
    services: Services, notice_id: int, actor: Actor, *, seen: str, major: bool, note: str
) -> Notice:
    """Let a change that waited come into force; tags are found anew, an editor's own stay.

    Args:
        services: The joined parts.
        notice_id: Which notice.
        actor: An editor.
        seen: Digest of the change that was looked at.
        major: Whether people must be told again; needs a note.
        note: What changed, shown to readers.

    Raises:
        NotFoundError: If none waits.
        ConflictError: If another change has come meanwhile.
        UsageError: If the actor is no editor, or a major change has no note.
    """
    _require(actor, "take changes")
    if major and not note.strip():
        raise UsageError("A major correction needs a note that says what changed.")
    waiting = pending_of(services, notice_id)
    if waiting.content.hash() != seen:
        raise ConflictError(f"Notice {notice_id} was changed meanwhile; reload the page and look again.")
    old, content = waiting.notice, waiting.content
    cap = content.extra.get("cap")
    messages = tuple(map(str, cap.get("messages") or ())) if isinstance(cap, Mapping) else ()
    row = services.preparer.finish(
        services.sources.get(old.source_id or 0),
        Row(old.source_id or 0, old.guid, 0, content, Declared(), content.hash(), to_text(content.body),
            messages=messages),
    )  # fmt: skip
    tags = {(tag.kind, tag.code): tag for tag in (*row.tags, *(t for t in old.tags if t.cause == EDITOR))}
    done = services.notices.revise(
        notice_id,
        content,
        tags=tuple(tags.values()),
        level=row.level,
        place=row.place,
        major=major,
        actor=actor.label,
        note=note.strip(),
        at=services.clock.now(),
        from_upstream=True,
        expected_revision=old.revision,
        words=row.words,
        identity=row.identity,
        priority=waiting.priority,
    )
    services.notices.take_change(notice_id)
    _log(services, "take-change", actor, notice_id, major=major, note=note.strip(), reason=waiting.reason)
    return done


def dismiss_change(services: Services, notice_id: int, actor: Actor, *, note: str = "") -> None:
    """Leave a notice as it is; the same change is not asked about again.

    Raises:
        NotFoundError: If none waits.
        UsageError: If the actor is no editor.
    """
    _require(actor, "dismiss changes")
    waiting = pending_of(services, notice_id)
    services.notices.take_change(notice_id)
    _log(services, "dismiss-change", actor, notice_id, reason=waiting.reason, note=note.strip())


def _require(actor: Actor, what: str) -> None:
    if "editor" not in actor.roles:
        raise UsageError(f"Your account may not {what}; ask for the role `editor`.")


def _log(services: Services, action: str, actor: Actor, notice_id: int | None, **details: object) -> None:
    services.audit.append(
        action, actor=actor.label, at=services.clock.now(), notice_id=notice_id, details=details
    )
