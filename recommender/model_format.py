"""The learned model as it is served, and how it becomes bytes: arrays multiplied by numpy. Pure.

Never imports a training library and opens no file. A model is two pieces of bytes: the arrays (``.npz``) and
a head (JSON: names, facts, the hash of the arrays, and a seal over the head itself), so that any change of
either is noticed. Called by ``model_file`` (files) and by whoever scores with a model.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np

from feeds.kernel.ids import content_hash
from feeds.kernel.time import from_micros, to_micros
from recommender.types import Csr, FeatureSpace, Floats, Ints

FORMAT = 2
Kind = Literal["full", "partial"]
#: What another part learned beside the vectors: facts that JSON can hold, and arrays by name. An extra that
#: holds something of single residents lists their features (``id:7``) under ``residents`` in its facts, and
#: the names of the arrays that have one row for each of them, in that order, under ``by_resident``.
Extra: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]
_ARRAYS = ("user_vectors", "user_biases", "item_vectors", "item_biases")
_INSTANTS = ("trained_at", "data_from", "data_until", "full_at")


class UnfitError(Exception):
    """A model that must not be used; the message says why, ``mismatched`` that its parts disagree."""

    def __init__(self, why: str, *, mismatched: bool = False) -> None:
        super().__init__(why)
        self.mismatched = mismatched


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Where a model comes from.

    Attributes:
        version: Its file name without ending; sorts by time.
        rows: Pairs of resident and notice that it learned from; ``simulated_share`` of them simulated, 0 to
            1.
        kind: ``full`` from nothing, or ``partial``: another model, taught what came after it.
        data_from, data_until: First and last event that any of it learned from; ``None`` where none has.
        full_at: When the last full fit under it was made; ``None``: at ``trained_at``.
        vocabulary: Hash of both vocabularies; filled in when it is saved.
        metrics: Figures of the held-out week, by name; only finite ones.
    """

    version: str
    trained_at: datetime
    rows: int
    users: int
    items: int
    simulated_share: float
    seed: int
    dim: int
    epochs: int
    kind: Kind = "full"
    data_from: datetime | None = None
    data_until: datetime | None = None
    full_at: datetime | None = None
    vocabulary: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def full(self) -> datetime:
        """When the last full fit was made."""
        return self.full_at or self.trained_at

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; instants in ISO 8601."""
        facts: dict[str, Any] = asdict(self) | {"metrics": dict(self.metrics)}
        for name in _INSTANTS:
            instant = getattr(self, name)
            facts[name] = instant.isoformat() if instant else None
        return facts


@dataclass(frozen=True)
class Model:
    """Vectors and biases of features; a resident or a notice is the weighted sum of its features.

    Attributes:
        user_vectors: float32 (n_user_features, dim). ``user_biases``: float32 (n_user_features,).
        item_vectors: float32 (n_item_features, dim). ``item_biases``: float32 (n_item_features,).
        extras: What was learned beside them, by name (``clicks``, ``ranker``, ``history``).
    """

    info: ModelInfo
    users: FeatureSpace
    items: FeatureSpace
    user_vectors: Floats
    user_biases: Floats
    item_vectors: Floats
    item_biases: Floats
    extras: Mapping[str, Extra] = field(default_factory=dict)

    @property
    def vocabulary(self) -> str:
        """Hash of both vocabularies: equal for models whose columns mean the same."""
        return content_hash(self.users.hash, self.items.hash)

    def scores(self, users: Csr, items: Csr) -> Floats:
        """Score every pair.

        Args:
            users: CSR (n_users, n_user_features).
            items: CSR (n_items, n_item_features).

        Returns:
            float32 (n_users, n_items); no unit, higher is better, comparable only within a row.
        """
        found: Floats = (users @ self.user_vectors) @ (items @ self.item_vectors).T
        found += (users @ self.user_biases)[:, None]
        found += (items @ self.item_biases)[None, :]
        return found

    def contributions(self, user: Csr, item: Csr) -> tuple[Ints, Floats, float]:
        """Split one score over the item's features.

        Args:
            user: CSR (1, n_user_features).
            item: CSR (1, n_item_features).

        Returns:
            Columns of the item's features, what each contributes, and the resident's own bias; the sum of the
            contributions and the bias is the score, but for float rounding.
        """
        columns = np.asarray(item.indices, dtype=np.int64)
        vector = np.asarray(user @ self.user_vectors)[0]
        each = item.data * (self.item_vectors[columns] @ vector + self.item_biases[columns])
        return columns, each.astype(np.float32), float((user @ self.user_biases)[0])

    def residents(self) -> frozenset[str]:
        """Features that are one resident each (``id:7``), of the vectors and of every extra."""
        own = {name for name in self.users.names if name.startswith("id:")}
        return frozenset(own.union(*(facts.get("residents", ()) for facts, _ in self.extras.values())))

    def without_users(self, names: Iterable[str]) -> Model:
        """The same model without some features of residents (an erased resident's own one)."""
        gone = set(names)
        kept = [n for n, name in enumerate(self.users.names) if name not in gone]
        space = FeatureSpace.of(name for name in self.users.names if name not in gone)
        return replace(
            self, users=space, user_vectors=self.user_vectors[kept], user_biases=self.user_biases[kept],
            extras={name: _extra_without(extra, gone) for name, extra in self.extras.items()},
        )  # fmt: skip


def _extra_without(extra: Extra, gone: set[str]) -> Extra:
    facts, arrays = extra
    held = list(facts.get("residents", ()))
    if not gone & set(held):
        return extra
    kept = [n for n, name in enumerate(held) if name not in gone]
    rows = set(facts.get("by_resident", ()))
    left = {name: array[kept] if name in rows else array for name, array in arrays.items()}
    return {**facts, "residents": [held[n] for n in kept]}, left


def encode(model: Model) -> tuple[bytes, bytes]:
    """Turn a model into its head and its arrays.

    Raises:
        ValueError: If facts hold what JSON cannot say, such as NaN.
    """
    arrays: dict[str, Any] = {name: getattr(model, name) for name in _ARRAYS}
    for name, (_, own) in model.extras.items():
        arrays |= {f"{name}/{key}": array for key, array in own.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    info = asdict(replace(model.info, vocabulary=model.vocabulary)) | {"metrics": dict(model.info.metrics)}
    for name in _INSTANTS:
        info[name] = to_micros(info[name]) if info[name] else None
    head: dict[str, Any] = {
        "format": FORMAT, "info": info, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "users": model.users.names, "user_hash": model.users.hash,
        "items": model.items.names, "item_hash": model.items.hash,
        "extras": {name: dict(facts) for name, (facts, _) in model.extras.items()},
    }  # fmt: skip
    head["seal"] = _seal(head)
    return json.dumps(head, ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "surrogatepass"
    ), buffer.getvalue()


def decode(version: str, head_bytes: bytes, data: bytes) -> Model:
    """Turn head and arrays back into a model that can be trusted.

    Raises:
        UnfitError: If anything is missing, changed, of another format, of another model, or not a number.
    """
    with _readable():
        head, info = _opened(version, head_bytes, data)
        model = _assemble(head, info, data)
    check(model)
    return model


def facts_of(version: str, head_bytes: bytes, data: bytes) -> ModelInfo:
    """Say where a model comes from without building it; its arrays are only compared with their hash.

    Raises:
        UnfitError: If either piece is missing, changed, of another format or of another model.
    """
    with _readable():
        return _opened(version, head_bytes, data)[1]


def names_any(head_bytes: bytes, names: Iterable[str]) -> bool:
    """Whether a head may name one of some features of residents (``id:7``); False is certain."""
    return any(json.dumps(name).encode() in head_bytes for name in names)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnfitError:
        raise
    except Exception as error:  # whatever a broken file makes the readers say
        raise UnfitError(f"its files cannot be read ({type(error).__name__})") from error


def _opened(version: str, head_bytes: bytes, data: bytes) -> tuple[Mapping[str, Any], ModelInfo]:
    head = json.loads(head_bytes)
    if head["format"] != FORMAT:
        raise UnfitError(f"it has format {head['format']}, this release reads {FORMAT}")
    if head.pop("seal") != _seal(head):
        raise UnfitError("its facts are not the ones that were written")
    if hashlib.sha256(data).hexdigest() != head["sha256"]:
        raise UnfitError("its arrays are not the ones that were written")
    facts = dict(head["info"])
    facts |= {name: from_micros(facts[name]) if facts[name] is not None else None for name in _INSTANTS}
    info = ModelInfo(**facts)
    if info.version != version:
        raise UnfitError(f"it is model {info.version} under another name", mismatched=True)
    return head, info


def _assemble(head: Mapping[str, Any], info: ModelInfo, data: bytes) -> Model:
    users, items = FeatureSpace.of(head["users"]), FeatureSpace.of(head["items"])
    if (users.hash, items.hash) != (head["user_hash"], head["item_hash"]) or info.vocabulary != content_hash(
        users.hash, items.hash
    ):
        raise UnfitError("the hash of its vocabulary differs", mismatched=True)
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: np.ascontiguousarray(file[name], dtype=np.float32) for name in _ARRAYS}
        extras: dict[str, Extra] = {
            name: (
                own,
                {key.partition("/")[2]: file[key] for key in file.files if key.startswith(f"{name}/")},
            )
            for name, own in head["extras"].items()
        }
    return Model(info, users, items, **arrays, extras=extras)


def check(model: Model) -> None:
    """Raise :class:`UnfitError` where shapes do not fit the vocabulary or a value is no number."""
    dim = model.info.dim
    wanted = ((len(model.users), dim), (len(model.users),), (len(model.items), dim), (len(model.items),))
    for name, shape in zip(_ARRAYS, wanted, strict=True):
        array = getattr(model, name)
        if array.shape != shape:
            raise UnfitError(f"{name} has shape {array.shape} instead of {shape}", mismatched=True)
        if not np.isfinite(array).all():
            raise UnfitError(f"{name} holds values that are not numbers")
    for name, (facts, arrays) in model.extras.items():
        for key, array in arrays.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise UnfitError(f"{name}/{key} holds values that are not numbers")
        rows = len(facts.get("residents", ()))
        if any(len(arrays[key]) != rows for key in facts.get("by_resident", ())):
            raise UnfitError(f"{name} does not have one row for each of its residents", mismatched=True)


def _seal(head: Mapping[str, Any]) -> str:
    text = json.dumps(head, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
