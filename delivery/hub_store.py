"""What our WebSub hub remembers: requests to verify, subscribers, and who is owed what.

The only SQL on the tables of ``delivery.hub_tables``. It sends nothing and decides nothing but what is
written here. A row in hand is leased, not locked: whoever dies with it leaves it due again. Secrets are
sealed. Called by ``api.jobs.hub``.
"""

from __future__ import annotations

import secrets as random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, select, update

from delivery.hub_rules import (
    MOST_ASKED,
    MOST_ASKED_OF_HOST,
    MOST_OF_CALLBACK,
    MOST_OF_HOST,
    MOST_SUBSCRIBERS,
    Refused,
    Wish,
    key_of,
)
from delivery.hub_tables import hub_mark, hub_ping, hub_queue, hub_request, hub_subscriber, hub_topic
from feeds.kernel.db import Database, chunks, insert_missing, insert_one, upsert
from feeds.kernel.sealing import Sealer

#: How long a row may be in one sender's hands.
LEASE = timedelta(minutes=5)
_FOLLOWED = "followed"


@dataclass(frozen=True, slots=True)
class Request:
    """A request in hand; ``attempts`` counts this one."""

    wish: Wish
    nonce: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Owed:
    """A subscriber in hand who is owed the present state of a topic.

    Attributes:
        etag: What it is owed at least.
        sent_etag: What it took last.
        failures: In a row, before this attempt.
    """

    subscriber_id: int
    topic: str
    callback: str = field(repr=False)
    host: str
    secret: str = field(repr=False)
    etag: str
    sent_etag: str
    failures: int
    token: str


@dataclass(frozen=True, slots=True)
class Ping:
    """An address that an external hub is to be told of."""

    key: str
    topic: str
    nonce: str
    attempts: int


class HubStore:
    """Reads and writes the hub's memory; every method is one transaction.

    Args:
        database: Where.
        key: The installation's secret key; subscribers' secrets are sealed with one derived from it.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._db = database
        self._sealer = Sealer(key, "mycity/hub/secret")

    # -- requests --------------------------------------------------------------------------------

    def ask(self, wish: Wish, *, at: datetime) -> None:
        """Keep a request until it is verified.

        Raises:
            Refused: If there are too many, of everybody or of one host or callback.
        """
        row = {
            "key": wish.key, "mode": wish.mode, "topic": wish.topic, "callback": wish.callback,
            "host": wish.host, "sealed": self._seal(wish.secret, wish.key),
            "lease_s": int(wish.lease.total_seconds()), "nonce": random.token_hex(8), "attempts": 0,
            "due_at": at,
        }  # fmt: skip
        with self._db.write() as connection:
            _check_room(connection, wish)
            upsert(connection, hub_request, [row], ["key"])

    def due_requests(self, now: datetime, *, limit: int = 50) -> list[Request]:
        """Take requests in hand, oldest first."""
        query = select(hub_request).where(hub_request.c.due_at <= now)
        found = []
        with self._db.write() as connection:
            for row in connection.execute(query.order_by(hub_request.c.due_at).limit(limit)).all():
                held = {"due_at": now + LEASE, "attempts": row.attempts + 1}
                connection.execute(update(hub_request).where(hub_request.c.key == row.key).values(**held))
                lease = timedelta(seconds=row.lease_s)
                secret = self._open(row.sealed, row.key)
                wish = Wish(row.mode, row.topic, row.callback, row.host, lease, secret)
                found.append(Request(wish, row.nonce, row.attempts + 1))
        return found

    def confirm(self, request: Request, *, etag: str, at: datetime) -> None:
        """Do what a verified request asks for: begin, renew or end a subscription.

        Args:
            request: In hand; one that was replaced meanwhile stays for its own verification.
            etag: Of the topic before it was asked; what changed since is owed to the subscriber.
            at: Now.
        """
        wish = request.wish
        with self._db.write() as connection:
            _drop(connection, request)
            if wish.mode == "unsubscribe":
                connection.execute(delete(hub_subscriber).where(hub_subscriber.c.key == wish.key))
                return
            key = key_of(wish.topic)
            topic = {"key": key, "topic": wish.topic, "etag": etag}
            insert_missing(connection, hub_topic, [topic], ["key"])
            announced = connection.scalar(select(hub_topic.c.etag).where(hub_topic.c.key == key))
            renewed = {
                "sealed": self._seal(wish.secret, wish.key), "lease_until": at + wish.lease, "failures": 0,
            }  # fmt: skip
            mine = update(hub_subscriber).where(hub_subscriber.c.key == wish.key).values(**renewed)
            if connection.execute(mine).rowcount:
                return
            row = {
                "key": wish.key, "topic_key": key, "topic": wish.topic,
                "callback_key": key_of(wish.callback), "callback": wish.callback, "host": wish.host,
                "created_at": at, "sent_etag": "", "sent_at": None, **renewed,
            }  # fmt: skip
            number = insert_one(connection, hub_subscriber, row)
            if announced != etag:  # it changed while the intent was verified
                owed = {"subscriber_id": number, "etag": announced, "due_at": at, "token": ""}
                connection.execute(insert(hub_queue), [owed])

    def drop(self, request: Request) -> None:
        """Forget a request that was not meant, unless it was replaced meanwhile."""
        with self._db.write() as connection:
            _drop(connection, request)

    def ask_again(self, request: Request, *, due_at: datetime) -> None:
        """Put a request back whose callback did not answer."""
        mine = (hub_request.c.key == request.wish.key) & (hub_request.c.nonce == request.nonce)
        with self._db.write() as connection:
            connection.execute(update(hub_request).where(mine).values(due_at=due_at))

    # -- changes ---------------------------------------------------------------------------------

    def mark(self) -> tuple[int, int] | None:
        """Return the (material number, edit number) up to which topics were looked at."""
        with self._db.read() as connection:
            row = connection.execute(select(hub_mark).where(hub_mark.c.name == _FOLLOWED)).first()
        return None if row is None else (row.material, row.edit)

    def set_mark(self, numbers: tuple[int, int], pings: Iterable[str] = (), *, at: datetime) -> None:
        """Note that all changes up to these numbers were looked at, and keep what follows from it.

        Args:
            numbers: As :meth:`mark`.
            pings: Addresses that an external hub is to be told of; kept in the same transaction.
            at: Now.
        """
        row = {"name": _FOLLOWED, "material": numbers[0], "edit": numbers[1]}
        told = [
            {"key": key_of(topic), "topic": topic, "nonce": random.token_hex(8), "attempts": 0, "due_at": at}
            for topic in dict.fromkeys(pings)
        ]
        with self._db.write() as connection:
            upsert(connection, hub_ping, told, ["key"])
            upsert(connection, hub_mark, [row], ["name"])

    def topics(self, now: datetime) -> list[tuple[str, str]]:
        """Return (topic, ETag announced last) of every topic that somebody listens to."""
        heard = exists().where(
            hub_subscriber.c.topic_key == hub_topic.c.key, hub_subscriber.c.lease_until > now
        )
        query = select(hub_topic.c.topic, hub_topic.c.etag).where(heard).order_by(hub_topic.c.topic)
        with self._db.read() as connection:
            return [(row.topic, row.etag) for row in connection.execute(query)]

    def announce(self, topic: str, *, old: str, new: str, at: datetime) -> int:
        """Owe the new state of a topic to all who listen; return to how many.

        Doing it twice, or in two processes, owes it once: the ETag is exchanged for the new one.
        """
        key = key_of(topic)
        moved = update(hub_topic).where(hub_topic.c.key == key, hub_topic.c.etag == old).values(etag=new)
        listening = select(hub_subscriber.c.id).where(
            hub_subscriber.c.topic_key == key, hub_subscriber.c.lease_until > at
        )
        with self._db.write() as connection:
            if not connection.execute(moved).rowcount:
                return 0
            ids = list(connection.scalars(listening))
            for part in chunks(ids):
                waits = hub_queue.c.subscriber_id.in_(part)
                connection.execute(update(hub_queue).where(waits).values(etag=new))
                rows = [{"subscriber_id": one, "etag": new, "due_at": at, "token": ""} for one in part]
                insert_missing(connection, hub_queue, rows, ["subscriber_id"])
        return len(ids)

    # -- distribution ----------------------------------------------------------------------------

    def claim(self, now: datetime, *, limit: int, per_host: int) -> list[Owed]:
        """Take subscribers in hand, those due longest first, at most so many of one host."""
        joined = hub_queue.join(hub_subscriber, hub_subscriber.c.id == hub_queue.c.subscriber_id)
        due = (
            select(hub_queue.c.etag, *hub_subscriber.c)
            .select_from(joined)
            .where(hub_queue.c.due_at <= now)
            .order_by(hub_queue.c.due_at, hub_queue.c.subscriber_id)
            .limit(limit * 5)
        )
        token, hosts, found = random.token_hex(12), Counter[str](), list[Owed]()
        with self._db.write() as connection:
            for row in connection.execute(due).all():
                if len(found) == limit:
                    break
                if hosts[row.host] < per_host:
                    hosts[row.host] += 1
                    found.append(self._owed(row, token))
            for part in chunks([one.subscriber_id for one in found]):
                held = update(hub_queue).where(hub_queue.c.subscriber_id.in_(part))
                connection.execute(held.values(due_at=now + LEASE, token=token))
        return found

    def took(self, owed: Owed, *, etag: str, at: datetime) -> None:
        """Note that a subscriber has this state; one that is owed a newer one stays in the queue."""
        with self._db.write() as connection:
            done = delete(hub_queue).where(_held(owed), hub_queue.c.etag.in_((owed.etag, etag)))
            if not connection.execute(done).rowcount:
                connection.execute(update(hub_queue).where(_held(owed)).values(due_at=at, token=""))
            mine = hub_subscriber.c.id == owed.subscriber_id
            changed = {"sent_etag": etag, "sent_at": at, "failures": 0}
            connection.execute(update(hub_subscriber).where(mine).values(**changed))

    def failed(self, owed: Owed, *, due_at: datetime, counts: bool = True) -> None:
        """Put a subscriber back, due later."""
        with self._db.write() as connection:
            back = update(hub_queue).where(_held(owed)).values(due_at=due_at, token="")
            if connection.execute(back).rowcount and counts:
                mine = hub_subscriber.c.id == owed.subscriber_id
                more = {"failures": hub_subscriber.c.failures + 1}
                connection.execute(update(hub_subscriber).where(mine).values(**more))

    def end(self, owed: Owed) -> None:
        """Forget a subscriber that is gone, and what it is owed."""
        with self._db.write() as connection:
            held = connection.scalar(select(hub_queue.c.subscriber_id).where(_held(owed)))
            if held is not None:
                connection.execute(delete(hub_subscriber).where(hub_subscriber.c.id == held))

    # -- an external hub -------------------------------------------------------------------------

    def due_pings(self, now: datetime, *, limit: int = 200) -> list[Ping]:
        """Take addresses in hand that an external hub is to be told of."""
        query = select(hub_ping).where(hub_ping.c.due_at <= now).order_by(hub_ping.c.due_at).limit(limit)
        found = []
        with self._db.write() as connection:
            for row in connection.execute(query).all():
                held = {"due_at": now + LEASE, "attempts": row.attempts + 1}
                connection.execute(update(hub_ping).where(hub_ping.c.key == row.key).values(**held))
                found.append(Ping(row.key, row.topic, row.nonce, row.attempts + 1))
        return found

    def pinged(self, pings: Sequence[Ping]) -> None:
        """Forget what was told, or given up, unless it changed again meanwhile."""
        with self._db.write() as connection:
            for ping in pings:
                mine = (hub_ping.c.key == ping.key) & (hub_ping.c.nonce == ping.nonce)
                connection.execute(delete(hub_ping).where(mine))

    def ping_again(self, pings: Sequence[Ping], *, due_at: datetime) -> None:
        """Put back what could not be told."""
        with self._db.write() as connection:
            for ping in pings:
                mine = (hub_ping.c.key == ping.key) & (hub_ping.c.nonce == ping.nonce)
                connection.execute(update(hub_ping).where(mine).values(due_at=due_at))

    # -- keeping house ---------------------------------------------------------------------------

    def trim(self, now: datetime) -> int:
        """Forget subscriptions whose lease is over and topics nobody listens to; return how many went."""
        heard = exists().where(hub_subscriber.c.topic_key == hub_topic.c.key)
        with self._db.write() as connection:
            over = delete(hub_subscriber).where(hub_subscriber.c.lease_until <= now)
            gone = connection.execute(over).rowcount
            connection.execute(delete(hub_topic).where(~heard))
        return gone

    def counts(self) -> dict[str, int]:
        """Count ``subscribers``, ``topics``, ``owed`` and ``asked``."""
        tables = {"subscribers": hub_subscriber, "topics": hub_topic, "owed": hub_queue, "asked": hub_request}
        with self._db.read() as connection:
            return {
                name: connection.scalar(select(func.count()).select_from(table)) or 0
                for name, table in tables.items()
            }

    def _owed(self, row: Row[Any], token: str) -> Owed:
        return Owed(
            row.id, row.topic, row.callback, row.host, self._open(row.sealed, row.key), row.etag,
            row.sent_etag, row.failures, token,
        )  # fmt: skip

    def _seal(self, secret: str, key: str) -> bytes | None:
        return self._sealer.seal(secret, key) if secret else None

    def _open(self, sealed: bytes | None, key: str) -> str:
        return self._sealer.open(sealed, key) if sealed else ""


def _held(owed: Owed) -> Any:
    return (hub_queue.c.subscriber_id == owed.subscriber_id) & (hub_queue.c.token == owed.token)


def _drop(connection: Connection, request: Request) -> None:
    mine = (hub_request.c.key == request.wish.key) & (hub_request.c.nonce == request.nonce)
    connection.execute(delete(hub_request).where(mine))


def _check_room(connection: Connection, wish: Wish) -> None:
    def count(table: Any, *conditions: Any) -> int:
        return connection.scalar(select(func.count()).select_from(table).where(*conditions)) or 0

    asked, have = hub_request, hub_subscriber
    others = asked.c.key != wish.key
    if (
        count(asked, others) >= MOST_ASKED
        or count(asked, others, asked.c.host == wish.host) >= MOST_ASKED_OF_HOST
    ):
        raise Refused("Too many requests wait for their verification; try again in an hour.", 429)
    if wish.mode == "unsubscribe" or count(have, have.c.key == wish.key):
        return
    callback = key_of(wish.callback)
    if (
        count(have) >= MOST_SUBSCRIBERS
        or count(have, have.c.host == wish.host) >= MOST_OF_HOST
        or count(have, have.c.callback_key == callback) >= MOST_OF_CALLBACK
    ):
        raise Refused("This hub has no room for more subscriptions of yours.", 429)
