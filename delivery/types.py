"""Messages, deliveries and the port that every channel obeys. Pure data, no I/O.

Called by ``delivery`` and ``api.jobs``. A message holds everything that is needed to send it: no
database read is left once it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from delivery.errors import DeliveryError

Lane = Literal["alert", "confirmation", "immediate", "digest"]
LANES: tuple[Lane, ...] = ("alert", "confirmation", "immediate", "digest")
DeliveryState = Literal[
    "queued", "leased", "sent", "delivered", "bounced", "complained",
    "failed", "expired", "suppressed", "skipped", "cancelled", "unknown", "held",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Also:
    """Another source that published the same notice; ``url`` is where, or ``""``."""

    name: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that belongs to a notice; ``length`` in bytes is 0 and ``type`` is ``""`` where unknown."""

    url: str
    type: str = ""
    length: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class EntryView:
    """One notice as a feed, a mail or an SMS shows it; texts final, in the reader's language.

    Attributes:
        entry_id: ``tag:…:notice/<id>``; never changes.
        url: Absolute address of the notice's page.
        body_html: Sanitised HTML or ``""``.
        updated: Last material change (feeds), UTC.
        published: First release here, UTC.
        reasons: Sentences, strongest first; empty in public feeds.
        deadline: Last instant to act, UTC; a bare day is stored as its local midnight.
        deadline_has_time: False for a bare day; only the day is then shown.
        mark: ``""``, ``withdrawn``, ``lifted`` (a warning), ``corrected``, ``expired`` or ``emergency``.
        mark_note: One sentence of plain text beside the mark, e.g. what was corrected.
        sensitive: True where the entry must be worded discreetly outside the page. Its address
            stays in feeds, so it must lead to a page that asks before it tells.
        material_number: Of the notice's last material change; part of the feed's ETag.
        quiet_subject: True where the body may show the entry but a subject line may not: subjects
            show on locked screens.
        also: Others who published the same notice; it is shown once and names them all.
        own_url: The address this reader follows instead of ``url`` where they agreed to it, else ``""``.
        shared: The same entry as every reader sees it, without reasons; forms are kept by it.
        enclosures: Its files, in order.
        title_lang: Where the title is in another language than the text, else ``""``.
    """

    notice_id: int
    revision: int
    entry_id: str
    url: str
    title: str
    summary: str
    body_html: str
    lang: str
    updated: datetime
    published: datetime
    agency: str = ""
    source_name: str = ""
    source_url: str = ""
    licence: str = ""
    tags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    deadline: datetime | None = None
    deadline_has_time: bool = False
    phone: str = ""
    mark: str = ""
    mark_note: str = ""
    sensitive: bool = False
    quiet_subject: bool = False
    material_number: int = 0
    also: tuple[Also, ...] = ()
    own_url: str = ""
    shared: EntryView | None = field(default=None, compare=False, repr=False)
    enclosures: tuple[Enclosure, ...] = ()
    title_lang: str = ""


@dataclass(frozen=True, slots=True)
class FeedView:
    """A feed as a whole: its head and at most 50 entries.

    Attributes:
        feed_id: Stable IRI of the feed (never the secret address of a personal feed).
        self_url: The address it is served under; ``""`` for personal feeds (it holds the token).
        page_url: The page for people that belongs to it.
        updated: Newest material time among the entries, or the profile's creation.
        timezone: IANA name; deadlines are shown in it.
        about_url: Page that explains the ``_mycity`` object of JSON Feed; ``page_url`` if empty.
        style_url: Style sheet for browsers that open the feed itself, or ``""``.
        hubs: WebSub hubs that are told of changes; none for personal feeds.
        links: (relation, address) to other parts of the same feed (RFC 5005).
        archive: It is an archive document: complete, and it will hardly change.
        gone: (entry id, when) of entries that were taken out for good (RFC 6721), the latest first.
    """

    feed_id: str
    self_url: str
    page_url: str
    title: str
    subtitle: str
    lang: str
    updated: datetime
    entries: tuple[EntryView, ...]
    author: str = ""
    timezone: str = "Asia/Shanghai"
    about_url: str = ""
    style_url: str = ""
    hubs: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    archive: bool = False
    gone: tuple[tuple[str, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """What one digest says to one person, before a channel gives it a form.

    Attributes:
        city_name: How subject and heading call the city, in ``lang``, e.g. ``示例市``.
        signature: The registered SMS signature without brackets, e.g. ``示例市公告``.
        window_start, window_end: Half-open window on the editions' ``made_at``; "today" and
            "tomorrow" in the text are counted from the local day of ``window_end``.
        unsubscribe_url: One-click address (mail only), absolute https or http.
        page_url: "My page" (mail) or the one fixed registered link (SMS).
        discreet: Neutral wording everywhere.
        sample: True for the sample city; 【示例】 then stands in subject and text.
        pixel_url: Our own picture that tells that a mail was opened, where its reader agreed to it.
    """

    lang: str
    city_name: str
    signature: str
    entries: tuple[EntryView, ...]
    window_start: datetime
    window_end: datetime
    timezone: str
    page_url: str
    unsubscribe_url: str = ""
    discreet: bool = False
    sample: bool = False
    pixel_url: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a mail, and the same in base64 as it is sent: whole lines with CRLF ends."""

    text: str
    wire: bytes


@dataclass(frozen=True, slots=True)
class MailMessage:
    """A mail ready to be turned into bytes.

    Attributes:
        message_id: ``<…@domain>``; the same on every retry.
        headers: Extra headers in order, e.g. List-Unsubscribe.
        envelope_from: The address that it bounces to; the sender's own where this is empty.
        pieces: Text and HTML again, encoded already; used only while they are these very strings.
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str
    sender: str
    date: datetime
    headers: tuple[tuple[str, str], ...] = ()
    envelope_from: str = ""
    pieces: tuple[Piece, Piece] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """A short message: approved template id, its parameters, and the text they render to.

    Attributes:
        to: E.164, e.g. ``+8613800000001``.
        text: With the signature in 【】; what the resident reads.
        segments: Billing segments (70 characters for one, 67 each for more).
        out_id: Our own reference, echoed by providers.
    """

    to: str
    template_id: str
    params: Mapping[str, str]
    text: str
    segments: int
    out_id: str


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A short note for a screen: a browser's notification, or a line in somebody's own chat tool.

    Attributes:
        to: What the channel needs to reach one person; secret, never logged.
        text: A few lines, complete without the page.
        url: The page it opens.
        topic: A later note of the same topic replaces this one while it has not been seen; ``""``
            replaces nothing.
        urgent: Also wakes a device that saves energy.
        useful_for: Seconds after which it need not be shown any more.
    """

    to: str
    title: str
    text: str
    url: str
    lang: str
    out_id: str
    topic: str = ""
    urgent: bool = False
    useful_for: int = 86_400


@dataclass(frozen=True, slots=True)
class WechatMessage:
    """A subscription message of WeChat: fields of an approved template.

    Attributes:
        to: The reader's openid.
        fields: Meaning → value (``title``, ``agency``, ``time``, ``note``), each already short enough.
        page: Where a tap leads: a path of the mini program, or an address.
    """

    to: str
    fields: Mapping[str, str]
    page: str
    lang: str
    out_id: str


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A JSON document for an https address that a resident gave; signed at the moment of sending.

    Attributes:
        message_id: Sent as ``webhook-id``; the same on every retry, so that the receiver can tell.
        body: The bytes that are signed and sent.
        secrets: ``whsec_…``, newest first; two for a day after a change. Never logged.
        profile_id: Whose address it is, for whoever keeps how sending went.
        out_id: Our own reference, as in :class:`SmsMessage`.
    """

    to: str = field(repr=False)
    message_id: str
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    profile_id: int = 0
    out_id: str = ""


Message = MailMessage | SmsMessage | PushMessage | WechatMessage | WebhookMessage


@dataclass(frozen=True, slots=True)
class Accepted:
    """A provider took a message; not yet delivered."""

    provider: str
    ref: str = ""
    note: str = ""


class ChannelPort(Protocol):
    """The contract of every channel.

    ``send`` returns :class:`Accepted` or raises ``RetryableError`` (try later), ``PermanentError``
    (never again for this message) or ``UnknownOutcomeError`` (may have been taken). It is safe to
    call from several threads. It never reads our database.
    """

    name: str

    def send(self, message: Message) -> Accepted:
        """Hand one message to the provider."""

    def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A row for the outbox.

    Attributes:
        dedupe_key: For example ``digest:7:email:2026-10-12``; unique for ever.
        recipe: What the body is rebuilt from: edition ids, revisions, language, template version,
            window; JSON values only.
        notices: (notice id, revision) carried, for "who was sent this".
        frozen: False where the recipe says only what to look for; the first preparation fixes it.
        run_id: The run that plans it, if any; a run can be held, halted and released.
    """

    dedupe_key: str
    profile_id: int
    channel: str
    lane: Lane
    due_at: datetime
    expires_at: datetime
    recipe: Mapping[str, Any]
    notices: tuple[tuple[int, int], ...] = ()
    frozen: bool = True
    run_id: int | None = None


@dataclass(slots=True)
class Delivery:
    """A stored row of the outbox, which is also the log of what was sent.

    Nobody changes one. It is not frozen because one is made for every message: that costs a third so.
    """

    id: int
    dedupe_key: str
    profile_id: int
    channel: str
    lane: Lane
    state: DeliveryState
    due_at: datetime
    expires_at: datetime
    attempts: int
    recipe: Mapping[str, Any]
    lease_token: str = ""
    provider: str = ""
    provider_ref: str = ""
    segments: int = 0
    error: str = ""
    sent_at: datetime | None = None
    notices: tuple[tuple[int, int], ...] = field(default=())
    frozen: bool = True
    run_id: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A claimed delivery with the message it becomes, or with what speaks against it.

    Attributes:
        message: ``None`` without an ``error``: there is nothing to say, and the row is ``skipped``.
        error: What was found while preparing.
        why: Short code of a skip, e.g. ``empty``; shown to whoever asks why nothing came.
        recipe: Where this was the first preparation: what the same bodies are rebuilt from. It is
            written before anything is sent.
        notices: (notice id, revision) carried; written together with ``recipe``.
        shown: (notice id, propensity) that a resident sees in the message, in its order; for the statistics.
    """

    row: Delivery
    message: Message | None = None
    error: DeliveryError | None = None
    why: str = ""
    recipe: Mapping[str, Any] | None = None
    notices: tuple[tuple[int, int], ...] = ()
    shown: tuple[tuple[int, float], ...] = ()


Prepare = Callable[[Sequence[Delivery]], Sequence[Prepared]]
ReceiptState = Literal["delivered", "failed", "bounced", "complained"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a provider says later about a message it took.

    Attributes:
        provider_ref: The provider's own number of the message, or ``""``.
        code: The provider's reason, e.g. ``5.1.1``; never an address.
        out_id: Our reference that the provider gives back, e.g. ``d17``, or ``""``.
    """

    provider: str
    provider_ref: str
    state: ReceiptState
    at: datetime
    code: str = ""
    out_id: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of one claimed delivery; not frozen, because one is made for every message.

    Attributes:
        state: ``queued`` puts it back, due at ``due_at``.
        untried: True if nothing was attempted; the attempt counted at the claim is taken back.
        rejected: True if the provider will never take it; counts against the run like a bounce.
    """

    delivery_id: int
    lease_token: str
    state: DeliveryState
    provider: str = ""
    provider_ref: str = ""
    segments: int = 0
    error: str = ""
    due_at: datetime | None = None
    untried: bool = False
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The outbox at a glance.

    Attributes:
        counts: channel → state → rows.
        oldest_due_seconds: Age of the oldest row that is due and not begun; the figure to alarm on.
        leased: Rows in the hands of a sender.
        paused: channel → reason; ``""`` is the switch for everything.
    """

    counts: Mapping[str, Mapping[str, int]]
    oldest_due_seconds: float | None
    leased: int
    paused: Mapping[str, str] = field(default_factory=dict)
