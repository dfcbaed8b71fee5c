"""What an evaluation found, and how it is written down. Pure.

Made by ``replay.evaluate``; read by ``mycity evaluate`` and tests. docs/evaluation.md says how to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recommender.log import BANDS, DAY, Log, Split
from recommender.replay.measures import SHORT, Marks, in_band, paired, summary
from recommender.replay.methods import PIPELINE

#: With fewer test questions the figures say little.
FEW = 100


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
        log: What was judged on, with its remarks.
        marks: Method name → what it got for each test question, all in the same order.
        ablations: The same for variants of the pipeline, which are kept apart.
        without: Name of a variant → what it goes without.
        candidates: How many items were offered in the test.
        asked: Name of a part of time ("training", "test") → questions asked and questions there were.
        signup: The section of sign-up cold start; empty where it was not judged.
        seconds: Method name → seconds it took, learning included; methods that share work show it at the
        first.
    """

    log: Log
    split: Split
    seed: int
    marks: Mapping[str, Marks]
    ablations: Mapping[str, Marks]
    without: Mapping[str, str]
    candidates: int
    asked: Mapping[str, tuple[int, int]]
    signup: Mapping[str, Any]
    seconds: Mapping[str, float]

    def json(self) -> dict[str, Any]:
        """All of it, ready for JSON: ``methods`` by name, the shipped one once more under ``pipeline``."""
        methods = {name: summary(marks, self.candidates) for name, marks in self.marks.items()}
        for name, values in methods.items():
            values["seconds"] = round(self.seconds.get(name, 0.0), 2)
        found: dict[str, Any] = {
            "enough": True,
            "seed": self.seed,
            "split": split_json(self.split),
            "counts": self.counts(),
            "remarks": self.remarks(),
            "methods": methods,
        }
        if PIPELINE in methods:
            methods[PIPELINE].update(self.against_parts())
            found[PIPELINE] = methods[PIPELINE]
        if self.ablations:
            found["ablations"] = {name: self._ablation(name) for name in self.ablations}
        if self.signup:
            found["signup_cold"] = dict(self.signup)
        return found

    def against_parts(self) -> dict[str, Any]:
        """Compare the pipeline, band by band, with the method that does best there on its own.

        Methods that gave the same lists as the pipeline everywhere are the pipeline, and are passed over.
        ``within_one_se``: the pipeline is not worse than that method by more than one standard error of the
        paired difference. True where the band has no question.
        """
        shipped = self.marks[PIPELINE]
        others = {k: marks for k, marks in self.marks.items() if not np.array_equal(marks.top, shipped.top)}
        found: dict[str, Any] = {}
        for name, low, high in BANDS:
            parts = {key: in_band(marks, low, high) for key, marks in others.items()}
            if not parts or not len(in_band(shipped, low, high)):
                found[name] = {"part": None, "difference": None, "se": None, "within_one_se": True}
                continue
            part = max(parts, key=lambda key: float(parts[key].ndcg.mean()))
            difference, spread = paired(in_band(shipped, low, high), parts[part])
            within = (difference or 0.0) >= -(spread or 0.0)
            found[name] = {"part": part, "difference": difference, "se": spread, "within_one_se": within}
        every = all(band["within_one_se"] for band in found.values())
        return {"best_part": found, "within_one_se": every}

    def counts(self) -> dict[str, int]:
        """How much there was."""
        return {
            "users": len(self.log.users),
            "items": len(self.log.items),
            "interactions": len(self.log.event_user),
            "training_questions": self.asked["training"][0],
            "questions": self.asked["test"][0],
            "candidates": self.candidates,
        }

    def remarks(self) -> list[str]:
        """What a reader has to know, one sentence each."""
        said = list(self.log.remarks)
        if not self.split.given:
            said.append("No split.json: time is cut at quantiles of the interactions' times.")
        for name, (kept, total) in self.asked.items():
            if kept < total:
                said.append(f"{kept} of {total} {name} questions were asked, the same share of each window.")
        if 0 < self.asked["test"][0] < FEW:
            said.append(
                f"The test asks only {self.asked['test'][0]} questions, fewer than {FEW}: the figures say "
                "little, and differences between methods may be chance."
            )
        if not self.asked["test"][0]:
            said.append("The test asks no question: in no window enough was published and cared for.")
        return said

    def _ablation(self, name: str) -> dict[str, Any]:
        whole = summary(self.ablations[name], self.candidates)
        found = {key: whole[key] for key in (*SHORT, "coverage10", "ndcg10_cold")}
        found["without"] = self.without[name]
        if PIPELINE in self.marks:
            found["adds"], found["adds_se"] = paired(self.marks[PIPELINE], self.ablations[name])
        return found


def split_json(split: Split) -> dict[str, Any]:
    """Where time was cut, in words of ISO 8601."""
    moments = (split.start, split.frozen, split.test, split.end)
    names = ("from", "vocabulary_frozen", "test_from", "test_to")
    said: dict[str, Any] = {
        name: f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for name, moment in zip(names, moments, strict=True)
    }
    return {**said, "window_days": split.window / DAY, "given": split.given}
