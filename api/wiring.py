"""Joins the parts: settings in, one object with every service out.

The only place that constructs stores and channels. Tests pass fakes or other clocks as arguments.
Nothing is opened before it is used; :meth:`Services.close` releases what was.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from api.channels import open_channels
from api.settings import Settings
from delivery.alert_outbox import AlertOutbox
from delivery.copy_rows import CopyRows
from delivery.outbox import OutboxStore
from delivery.receipts import ReceiptStore
from delivery.types import ChannelPort
from feeds.catalogue.city_files import load_city
from feeds.catalogue.search import Search
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import Tagger
from feeds.catalogue.vocabulary import City
from feeds.desk.audit import AuditLog
from feeds.desk.editing import Desk
from feeds.desk.staff import StaffStore
from feeds.intake.ingest import Ingestor
from feeds.intake.prepare import Preparer
from feeds.intake.sources import SourceStore
from feeds.intake.websub import WebSubStore
from feeds.kernel.answers import Timeouts
from feeds.kernel.db import Database
from feeds.kernel.hosts import HostGate
from feeds.kernel.http import GuardedClient
from feeds.kernel.time import Clock, SystemClock
from profiles.asked import AskedStore
from profiles.codes import CodeStore
from profiles.consent import ConsentStore
from profiles.contacts import ContactStore
from profiles.copies import CopyStore
from profiles.editions import EditionStore
from profiles.ending import EndingStore
from profiles.feedback import FeedbackStore
from profiles.inbox import InboxStore
from profiles.reach import ReachStore
from profiles.store import ProfileStore
from profiles.subscriptions import SubscriptionStore
from profiles.suppression import SuppressionStore
from profiles.taste import TasteStore
from profiles.tokens import TokenStore

# The recommender's numerical libraries take a third of a second to load; pages and feeds do without.
if TYPE_CHECKING:
    from api.digest_views import ViewShelf
    from api.jobs.notebook import Notebook
    from delivery.engagement_store import EngagementStore
    from delivery.hub_store import HubStore
    from delivery.sms_budget import SmsBudget
    from delivery.sms_scales import SmsScales
    from delivery.sms_unknown import UnknownTexts
    from delivery.webhook_store import WebhookStore
    from recommender.model_file import ModelShelf
    from recommender.select import CandidateShop

USER_AGENT = "MyCity/0.1 (+{contact})"


@dataclass
class Services:
    """Everything an entrance may use.

    Attributes:
        zone: The time zone people live in.
        authority, year: What entry ids are made of; fixed in the database at first use.
        demo: True in the demo, which shows captured messages and its own clock.
    """

    settings: Settings
    clock: Clock
    database: Database
    city: City
    zone: ZoneInfo
    key: bytes
    demo: bool = False
    channels: Mapping[str, ChannelPort] = field(default_factory=dict)

    @cached_property
    def tagger(self) -> Tagger:
        """The rule tagger of this city (its automaton takes a moment to build)."""
        tagger = Tagger(self.city)
        # City and rules stay as long as the process; the collector need not walk them again and again.
        gc.freeze()
        return tagger

    @cached_property
    def notices(self) -> NoticeStore:
        """The catalogue."""
        return NoticeStore(self.database)

    @cached_property
    def search(self) -> Search:
        """Full-text search."""
        return Search(self.database, self.notices)

    @cached_property
    def sources(self) -> SourceStore:
        """Upstream sources."""
        return SourceStore(self.database)

    @cached_property
    def ingestor(self) -> Ingestor:
        """What turns files and feeds into notices."""
        return Ingestor(self.notices, self.sources, self.tagger, self.city, self.clock)

    @cached_property
    def preparer(self) -> Preparer:
        """What turns an answer into rows, without the database."""
        return self.ingestor.preparer

    @cached_property
    def websub(self) -> WebSubStore:
        """Subscriptions at hubs."""
        return WebSubStore(self.database)

    @cached_property
    def gate(self) -> HostGate:
        """Lets no host be asked by too many of our threads."""
        return HostGate(self.settings.poll_per_host)

    @cached_property
    def audit(self) -> AuditLog:
        """What was done at the desk."""
        return AuditLog(self.database)

    @cached_property
    def desk(self) -> Desk:
        """The editors' desk."""
        return Desk(self.notices, self.audit, self.tagger, self.clock)

    @cached_property
    def staff(self) -> StaffStore:
        """Who may edit."""
        return StaffStore(self.database)

    @cached_property
    def profiles(self) -> ProfileStore:
        """Residents' profiles."""
        return ProfileStore(self.database)

    @cached_property
    def editions(self) -> EditionStore:
        """The ledger."""
        return EditionStore(self.database)

    @cached_property
    def feedback(self) -> FeedbackStore:
        """What residents did."""
        return FeedbackStore(self.database)

    @cached_property
    def taste(self) -> TasteStore:
        """What behaviour says about residents, as tags."""
        return TasteStore(self.database)

    @cached_property
    def subscriptions(self) -> SubscriptionStore:
        """Which channels are served."""
        return SubscriptionStore(self.database)

    @cached_property
    def contacts(self) -> ContactStore:
        """Sealed addresses."""
        return ContactStore(self.database, self.key)

    @cached_property
    def receipts(self) -> ReceiptStore:
        """What providers reported about messages."""
        return ReceiptStore(self.database)

    @cached_property
    def suppressions(self) -> SuppressionStore:
        """Addresses that get nothing."""
        return SuppressionStore(self.database, self.contacts)

    @cached_property
    def copies(self) -> CopyStore:
        """Who else gets what a resident gets."""
        return CopyStore(self.database, self.key, self.contacts)

    @cached_property
    def copy_rows(self) -> CopyRows:
        """Rows of the outbox for copies."""
        return CopyRows(self.database)

    @cached_property
    def codes(self) -> CodeStore:
        """Six-digit codes that confirm a phone."""
        return CodeStore(self.database, self.key, self.contacts)

    @cached_property
    def asked(self) -> AskedStore:
        """How often addresses were asked something."""
        return AskedStore(self.database, self.contacts)

    @cached_property
    def inbox(self) -> InboxStore:
        """Text messages that people sent us."""
        return InboxStore(self.database, self.key, self.contacts)

    @cached_property
    def endings(self) -> EndingStore:
        """Profiles that end by themselves."""
        return EndingStore(self.database)

    @cached_property
    def consents(self) -> ConsentStore:
        """What residents agreed to."""
        return ConsentStore(self.database)

    @cached_property
    def tokens(self) -> TokenStore:
        """Feed and stop tokens."""
        return TokenStore(self.database)

    @cached_property
    def reach(self) -> ReachStore:
        """How many people each channel can reach."""
        return ReachStore(self.database)

    @cached_property
    def outbox(self) -> OutboxStore:
        """Rows to be sent, and what became of them."""
        return OutboxStore(self.database)

    @cached_property
    def view_shelf(self) -> ViewShelf:
        """What was said of notices in messages, kept while nothing changes."""
        from api.digest_views import ViewShelf

        return ViewShelf()

    @cached_property
    def alert_outbox(self) -> AlertOutbox:
        """The outbox as alerts use it."""
        return AlertOutbox(self.database)

    @cached_property
    def shop(self) -> CandidateShop:
        """Candidates for selection, encoded once while nothing changes."""
        from recommender.select import CandidateShop

        return CandidateShop(self.notices, self.city)

    @cached_property
    def models(self) -> ModelShelf:
        """Trained models on disk."""
        from recommender.model_file import ModelShelf

        return ModelShelf(self.settings.models)

    @cached_property
    def notebook(self) -> Notebook:
        """What the watch over the model remembers."""
        from api.jobs.notebook import Notebook

        return Notebook(self.settings.notebook)

    @cached_property
    def authority(self) -> str:
        """The domain in entry ids; fixed in the database at first use."""
        return self.notices.fix("authority", self.city.authority)

    @cached_property
    def year(self) -> str:
        """The year in entry ids; fixed in the database at first use."""
        return self.notices.fix("year", str(self.clock.now().astimezone(self.zone).year))

    @cached_property
    def webhooks(self) -> WebhookStore:
        """Residents' own webhooks: secrets, and how sending goes."""
        from delivery.webhook_store import WebhookStore

        return WebhookStore(self.database, self.key)

    @cached_property
    def sms_budget(self) -> SmsBudget:
        """What text messages cost this month."""
        from api.sms_wiring import open_budget

        return open_budget(self)

    @cached_property
    def sms_unknown(self) -> UnknownTexts:
        """Text messages of which nobody knows what became of them."""
        from delivery.sms_unknown import UnknownTexts

        return UnknownTexts(self.database)

    @cached_property
    def sms_scales(self) -> SmsScales:
        """How text messages are shared out between providers."""
        from delivery.sms_scales import SmsScales

        return SmsScales(self.database)

    @cached_property
    def engagement(self) -> EngagementStore:
        """Opens and clicks of those who agreed to be counted."""
        from delivery.engagement_store import EngagementStore

        return EngagementStore(self.database)

    @cached_property
    def hub(self) -> HubStore:
        """Subscribers of public feeds at our own hub."""
        from delivery.hub_store import HubStore

        return HubStore(self.database, self.key)

    def client(self, *, timeouts: Timeouts | None = None, most: int = 0) -> GuardedClient:
        """Make the guarded HTTP client that follows addresses people gave.

        Args:
            timeouts: Instead of those for sources.
            most: Bytes of an answer that are read; 0: as many as of a source.
        """
        return GuardedClient(
            user_agent=USER_AGENT.format(contact=self.settings.contact or self.settings.base_url),
            allow_private=tuple(
                part.strip() for part in self.settings.allow_private.split(",") if part.strip()
            ),
            allowed_ports=tuple(int(part) for part in self.settings.source_ports.split(",") if part.strip()),
            timeouts=timeouts,
            max_wire=most or self.settings.source_mb * 1_000_000,
            max_body=most or self.settings.source_mb * 1_000_000,
            clock=self.clock,
            gate=self.gate,
        )

    def close(self) -> None:
        """Release channels and connections."""
        for channel in self.channels.values():
            channel.close()
        self.database.close()


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    database: Database | None = None,
    channels: Mapping[str, ChannelPort] | None = None,
    demo: bool = False,
    city: City | None = None,
) -> Services:
    """Join the parts.

    Args:
        settings: See :mod:`api.settings`.
        clock: Default: the machine's.
        database: Default: opened from the settings.
        channels: Default: real ones where their settings are there, else capture.
        demo: Use the demo's own key, so that none has to be set.
        city: Default: loaded by the settings' name.

    Raises:
        UsageError: If a setting is missing or does not fit.
    """
    city = city or load_city(settings.city)
    clock = clock or SystemClock()
    if database is None:
        if not settings.database_url:
            settings.home.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database)
    key = b"the demo seals nothing real and needs no secret" if demo else settings.key()
    services = Services(
        settings=settings,
        clock=clock,
        database=database,
        city=city,
        zone=ZoneInfo(settings.timezone or city.timezone),
        key=key,
        demo=demo,
    )
    services.channels = channels if channels is not None else open_channels(services)
    return services
