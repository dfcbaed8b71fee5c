"""The learned model as it is served, arrays multiplied by numpy; and the shelf of model files.

Never imports the training library. A model is ``<version>.npz`` (arrays) and ``<version>.json`` (names,
facts, and the hash of the arrays); ``current`` names the one in use. Every file is written whole or not at
all. Called by ``train`` (save, forget), ``select`` (load) and the doctor (why there is none).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from feeds.kernel.errors import NotFoundError
from feeds.kernel.time import from_micros, to_micros
from recommender.types import Csr, FeatureSpace, Floats, Ints

FORMAT = 1
KEPT = 5
_ARRAYS = ("user_vectors", "user_biases", "item_vectors", "item_biases")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Where a model comes from.

    Attributes:
        rows: Pairs of resident and notice that it learned from; ``simulated_share`` of them simulated, 0 to
            1.
        version: Its file name without ending; sorts by time.
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


@dataclass(frozen=True)
class Model:
    """Vectors and biases of features; a resident or a notice is the weighted sum of its features.

    Attributes:
        user_vectors: float32 (n_user_features, dim). ``user_biases``: float32 (n_user_features,).
        item_vectors: float32 (n_item_features, dim). ``item_biases``: float32 (n_item_features,).
    """

    info: ModelInfo
    users: FeatureSpace
    items: FeatureSpace
    user_vectors: Floats
    user_biases: Floats
    item_vectors: Floats
    item_biases: Floats

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

    def without_users(self, names: Iterable[str]) -> Model:
        """The same model without some features of residents (an erased resident's own one)."""
        gone = set(names)
        kept = [n for n, name in enumerate(self.users.names) if name not in gone]
        space = FeatureSpace.of(name for name in self.users.names if name not in gone)
        return replace(
            self, users=space, user_vectors=self.user_vectors[kept], user_biases=self.user_biases[kept]
        )


class ModelShelf:
    """The folder of model files: the last five, and which one is in use.

    Attributes:
        problem: Why the last :meth:`load_current` gave nothing, or empty; one sentence for the doctor.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.problem = ""
        self._held: tuple[tuple[str, int, int], Model] | None = None

    def save(self, model: Model) -> str:
        """Write a model, put it in use, drop all but the last five.

        Returns:
            Its version: the model's own, and a number that keeps two of the same instant apart.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"{model.info.version}-"
        same = [name for name in self.versions() if name.startswith(stem)]
        number = max((int(name.removeprefix(stem)[:3]) for name in same), default=-1) + 1
        name = f"{stem}{number:03d}"
        version = self._write(replace(model, info=replace(model.info, version=name)))
        self._use(version)
        for old in self.versions()[:-KEPT]:
            self._remove(old)
        return version

    def load_current(self) -> Model | None:
        """Read the model in use; ``None`` and a :attr:`problem` where there is none to be trusted."""
        self.problem = ""
        version = self.current()
        if version is None:
            self.problem = "No model has been trained yet; run `mycity train`. Editions are made by rules."
            return None
        stamp = self._stamp(version)
        if self._held is None or stamp is None or self._held[0] != stamp:
            model = self._load(version)
            self._held = None if model is None or stamp is None else (stamp, model)
            return model
        return self._held[1]

    def _stamp(self, version: str) -> tuple[str, int, int] | None:
        """What changes when the file does; a model is read once, and again after that."""
        try:
            found = (self.folder / f"{version}.npz").stat()
        except OSError:
            return None
        return version, found.st_mtime_ns, found.st_size

    def current(self) -> str | None:
        """The version in use, or ``None``."""
        try:
            return (self.folder / "current").read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def versions(self) -> list[str]:
        """Kept versions, oldest first."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def rollback(self) -> str:
        """Put the version before the current one in use and return it.

        Raises:
            NotFoundError: If there is no earlier one.
        """
        current = self.current()
        earlier = [version for version in self.versions() if current is None or version < current]
        if not earlier:
            raise NotFoundError(
                "There is no earlier model to go back to; train a new one with `mycity train`."
            )
        self._use(earlier[-1])
        return earlier[-1]

    def forget(self, names: Iterable[str]) -> int:
        """Take features of residents (``id:7``) out of every kept model; returns how many models changed."""
        gone, changed, current = set(names), 0, self.current()
        for version in self.versions():
            model = self._load(version)
            if model is None or not gone & set(model.users.columns):
                continue
            clean = model.without_users(gone)
            written = self._write(replace(clean, info=replace(clean.info, version=version + "x")))
            if version == current:
                self._use(written)
            self._remove(version)
            changed += 1
        return changed

    def _write(self, model: Model) -> str:
        buffer = io.BytesIO()
        np.savez(buffer, **{name: getattr(model, name) for name in _ARRAYS})
        data, version = buffer.getvalue(), model.info.version
        facts = asdict(model.info) | {"trained_at": to_micros(model.info.trained_at)}
        head = {
            "format": FORMAT, "info": facts, "sha256": hashlib.sha256(data).hexdigest(),
            "users": model.users.names, "user_hash": model.users.hash,
            "items": model.items.names, "item_hash": model.items.hash,
        }  # fmt: skip
        _write_whole(self.folder / f"{version}.npz", data)
        _write_whole(self.folder / f"{version}.json", json.dumps(head, ensure_ascii=False).encode())
        return version

    def _use(self, version: str) -> None:
        _write_whole(self.folder / "current", version.encode())

    def _remove(self, version: str) -> None:
        if version != self.current():
            for ending in ("json", "npz"):
                (self.folder / f"{version}.{ending}").unlink(missing_ok=True)

    def _load(self, version: str) -> Model | None:
        try:
            head = json.loads((self.folder / f"{version}.json").read_bytes())
            return _read(head, (self.folder / f"{version}.npz").read_bytes())
        except _Unfit as error:
            why = str(error)
        except FileNotFoundError as error:
            why = f"{Path(str(error.filename)).name} is missing"
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            why = f"its files cannot be read ({type(error).__name__})"
        self.problem = (
            f"Model {version} is not used: {why}. Run `mycity train`, or `mycity train --rollback`; "
            "until then editions are made by rules."
        )
        return None


class _Unfit(Exception):
    """A model file that is readable but must not be used; the message says why."""


def _read(head: dict[str, Any], data: bytes) -> Model:
    if head["format"] != FORMAT:
        raise _Unfit(f"it has format {head['format']}, this version reads {FORMAT}")
    if hashlib.sha256(data).hexdigest() != head["sha256"]:
        raise _Unfit("its arrays are not the ones that were written")
    users, items = FeatureSpace.of(head["users"]), FeatureSpace.of(head["items"])
    if (users.hash, items.hash) != (head["user_hash"], head["item_hash"]):
        raise _Unfit("the hash of its vocabulary differs")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: np.ascontiguousarray(file[name], dtype=np.float32) for name in _ARRAYS}
    facts = head["info"] | {"trained_at": from_micros(head["info"]["trained_at"])}
    model = Model(ModelInfo(**facts), users, items, **arrays)
    check(model)
    return model


def check(model: Model) -> None:
    """Raise ``_Unfit`` where shapes do not fit the vocabulary or a value is not a finite number."""
    dim = model.info.dim
    wanted = ((len(model.users), dim), (len(model.users),), (len(model.items), dim), (len(model.items),))
    for name, shape in zip(_ARRAYS, wanted, strict=True):
        array = getattr(model, name)
        if array.shape != shape:
            raise _Unfit(f"{name} has shape {array.shape} instead of {shape}")
        if not np.isfinite(array).all():
            raise _Unfit(f"{name} holds values that are not numbers")


def _write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, then put it in its place, so that nobody ever reads half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
