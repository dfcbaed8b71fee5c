"""The desk: writing, submitting, approving, correcting and withdrawing notices.

Decides who may do what and which state follows; the store only stores. Every call takes an
:class:`~feeds.desk.staff.Actor` and leaves a row in the audit. Four eyes: nobody approves what they
submitted. Called by the editor pages and the command line.

draft → in_review → released → withdrawn; reject returns to draft.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from feeds.catalogue.notices import NewNotice, Notice, NoticeContent, Priority, Prominence, State
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import Tag, Tagger
from feeds.desk.audit import AuditLog
from feeds.desk.staff import Actor
from feeds.kernel.errors import UsageError
from feeds.kernel.time import Clock

# Not a person: the program itself, acting on a file or a schedule.
SYSTEM = Actor("system", 0, ("writer", "editor"))


class Desk:
    """Moves notices through their states on behalf of people."""

    def __init__(self, notices: NoticeStore, audit: AuditLog, tagger: Tagger, clock: Clock) -> None:
        self._notices = notices
        self._audit = audit
        self._tagger = tagger
        self._clock = clock

    def write(
        self, content: NoticeContent, *, tags: Sequence[Tag], actor: Actor, priority: Priority = "normal"
    ) -> Notice:
        """Start a draft.

        Raises:
            UsageError: If the title is empty or the actor may not write.
        """
        _require(actor, "writer", "write notices")
        _check(content)
        level, place = self._tagger.jurisdiction(tags=tags, region=content.region)
        new = NewNotice(
            content=content,
            source_id=None,
            guid=f"desk:{secrets.token_hex(8)}",
            tags=tuple(tags),
            level=level,
            place=place,
            priority=priority,
            state="draft",
            actor=actor.label,
        )
        [notice_id] = self._notices.add([new], at=self._clock.now())
        # The hash, not the words: the audit outlives a purge.
        self._log("write", actor, notice_id, content_hash=content.hash())
        return self._notices.get(notice_id)

    def edit(
        self,
        notice_id: int,
        content: NoticeContent,
        *,
        tags: Sequence[Tag],
        actor: Actor,
        seen: int | None = None,
    ) -> Notice:
        """Change a draft; ``seen`` is the revision the editor looked at, so that no change is lost.

        Raises:
            UsageError: If it is not a draft any more.
        """
        _require(actor, "writer", "edit drafts")
        _check(content)
        notice = self._notices.get(notice_id)
        if notice.state != "draft":
            raise UsageError(
                f"Notice {notice_id} is {notice.state}; use a correction for what is already public."
            )
        return self._revise(notice, content, tags, major=False, note="", actor=actor, frm="draft", seen=seen)

    def submit(self, notice_id: int, actor: Actor, *, seen: int | None = None) -> Notice:
        """Hand a draft to review."""
        _require(actor, "writer", "submit notices")
        moved = self._notices.set_state(
            notice_id, "in_review", at=self._clock.now(), frm=("draft",), expected_revision=seen
        )
        self._log("submit", actor, notice_id, revision=moved.revision)
        return moved

    def approve(self, notice_id: int, actor: Actor, *, seen: int | None = None) -> Notice:
        """Release a notice that somebody else submitted, at the revision that was looked at.

        Raises:
            UsageError: If the actor wrote or submitted it, or is no editor.
        """
        _require(actor, "editor", "approve notices")
        if actor.label in self._hands_on(notice_id):
            raise UsageError("You wrote or submitted this notice; a second person must approve it.")
        moved = self._notices.set_state(
            notice_id, "released", at=self._clock.now(), frm=("in_review",), expected_revision=seen
        )
        self._log("approve", actor, notice_id, revision=moved.revision)
        return moved

    def reject(self, notice_id: int, actor: Actor, note: str) -> Notice:
        """Return a notice to its writer, with the reason."""
        _require(actor, "editor", "reject notices")
        if not note.strip():
            raise UsageError("Say what should be changed, so that the writer can do it.")
        moved = self._notices.set_state(notice_id, "draft", at=self._clock.now(), frm=("in_review",))
        self._log("reject", actor, notice_id, note=note)
        return moved

    def correct(
        self,
        notice_id: int,
        content: NoticeContent,
        *,
        major: bool,
        note: str,
        actor: Actor,
        tags: Sequence[Tag] = (),
        seen: int | None = None,
    ) -> Notice:
        """Correct a public notice; a major correction is a material change.

        One editor may correct alone, so that an error does not stand while a second is looked for; the
        audit says so (``alone``).

        Args:
            notice_id: Which notice; it keeps its id for ever.
            content: What it says from now on.
            major: Whether people must be told again; needs a note.
            note: What changed and why, shown to readers.
            actor: Who corrects.
            tags: New tags; empty keeps those it has.
            seen: The revision the editor looked at; ``None`` means any.

        Raises:
            UsageError: If it is not public, nothing changed, or a major one has no note.
        """
        _require(actor, "editor", "correct notices")
        _check(content)
        notice = self._notices.get(notice_id)
        if notice.state != "released":
            raise UsageError(
                f"Notice {notice_id} is {notice.state}; only a released notice can be corrected."
            )
        if content.hash() == notice.content.hash():
            raise UsageError("Nothing was changed; there is nothing to correct.")
        if major and not note.strip():
            raise UsageError("A major correction needs a note that says what changed.")
        return self._revise(
            notice,
            content,
            tags or notice.tags,
            major=major,
            note=note,
            actor=actor,
            frm="released",
            seen=seen,
        )

    def retag(self, notice_id: int, tags: Sequence[Tag], actor: Actor) -> Notice:
        """Put other tags on a public notice: nothing it says changes, so there is no revision."""
        _require(actor, "editor", "correct notices")
        self._notices.retag(notice_id, tags)
        self._log("retag", actor, notice_id, tags=sorted(f"{tag.kind}:{tag.code}" for tag in tags))
        return self._notices.get(notice_id)

    def weigh(self, notice_id: int, prominence: Prominence, actor: Actor) -> Notice:
        """Set a notice off or hold it back in ranking; a minor act: no revision, and no feed moves.

        Setting the weight it has already changes nothing and leaves no row in the audit.

        Raises:
            UsageError: If the actor is no editor, the weight is none of -1, 0, 1, or the notice is closed.
        """
        _require(actor, "editor", "set the weight of notices")
        if prominence not in (-1, 0, 1):
            raise UsageError("The weight is -1 (held back), 0 (as it comes) or 1 (set off).")
        notice = self._notices.get(notice_id)
        if notice.state not in ("draft", "in_review", "scheduled", "released"):
            raise UsageError(f"Notice {notice_id} is {notice.state}; its weight has no effect any more.")
        if notice.prominence != prominence:
            self._notices.set_prominence(notice_id, prominence)
            self._log("weigh", actor, notice_id, prominence=prominence, before=notice.prominence)
        return self._notices.get(notice_id)

    def withdraw(self, notice_id: int, reason: str, actor: Actor) -> Notice:
        """Withdraw a public notice; it stays readable, marked, with the reason.

        Raises:
            UsageError: If no reason is given.
        """
        _require(actor, "editor", "withdraw notices")
        if not reason.strip():
            raise UsageError("Give the reason for the withdrawal; readers will see it.")
        moved = self._notices.set_state(
            notice_id, "withdrawn", at=self._clock.now(), reason=reason.strip(), frm=("released",)
        )
        self._log("withdraw", actor, notice_id, reason=reason)
        return moved

    def purge(self, notice_id: int, reason: str, actor: Actor) -> Notice:
        """Remove what a notice said from everywhere; a neutral tombstone and a hash stay."""
        _require(actor, "editor", "purge notices")
        digest = self._notices.get(notice_id).content.hash()
        moved = self._notices.set_state(notice_id, "purged", at=self._clock.now())
        self._log("purge", actor, notice_id, reason=reason, content_hash=digest)
        return moved

    def suggest(self, content: NoticeContent) -> tuple[Tag, ...]:
        """Suggest tags for a text, each with the rule that fired."""
        return self._tagger.tag(
            title=content.title,
            text=content.body,
            agency=content.agency,
            doc_type=content.doc_type,
            upstream=content.upstream_tags,
            region=content.region,
        )

    def _revise(
        self,
        notice: Notice,
        content: NoticeContent,
        tags: Sequence[Tag],
        *,
        major: bool,
        note: str,
        actor: Actor,
        frm: State,
        seen: int | None,
    ) -> Notice:
        level, place = self._tagger.jurisdiction(tags=tags, region=content.region)
        if level == "unknown":
            level, place = notice.level, notice.place
        changed = self._notices.revise(
            notice.id,
            replace(content, published=content.published or notice.content.published),
            tags=tags,
            level=level,
            place=place,
            major=major,
            actor=actor.label,
            note=note,
            at=self._clock.now(),
            frm=(frm,),
            expected_revision=seen,
        )
        if frm == "draft":
            self._log("edit", actor, notice.id, revision=changed.revision)
        else:
            self._log("correct", actor, notice.id, major=major, note=note, alone=True)
        return changed

    def _hands_on(self, notice_id: int) -> set[str]:
        """Who ever wrote, edited or submitted this notice: none of them may approve it."""
        hands: set[str] = set()
        for row in self._audit.of(notice_id):
            if row["action"] in ("write", "edit", "submit"):
                hands.add(row["actor"])
        return hands

    def _log(self, action: str, actor: Actor, notice_id: int, **details: object) -> None:
        self._audit.append(
            action, actor=actor.label, at=self._clock.now(), notice_id=notice_id, details=details
        )


def _require(actor: Actor, role: str, what: str) -> None:
    if role not in actor.roles:
        raise UsageError(f"Your account may not {what}; ask for the role `{role}`.")


def _check(content: NoticeContent) -> None:
    if not content.title.strip():
        raise UsageError("A notice needs a title.")
    if len(content.title) > 300:
        raise UsageError(f"The title has {len(content.title)} characters; shorten it to 300.")
