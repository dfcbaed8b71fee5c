"""Judge methods on a log: replay its weeks, let each method order what was new, compare with what happened.

Pure but for the seconds it takes and reports. Nothing is chosen here by what comes out: which methods there
are and where time is cut is fixed before. Called by ``mycity evaluate`` and tests; docs/evaluation.md says
how to read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from typing import Any

import numpy as np

from feeds.kernel.errors import UsageError
from recommender.log import Log, Question, Split, declarable
from recommender.replay.measures import SHORT, Judge, Marks, brief, summary
from recommender.replay.methods import PIPELINE, Method, Popularity, baselines
from recommender.replay.questions import Plan, asked, plan
from recommender.replay.report import Result
from recommender.replay.signup import MAIN, TICKS, as_newcomers, columns, newcomers

#: Training and test ask no more questions than this, each.
MOST = 20_000
Progress = Callable[[str, int, int], None]


def learned_methods() -> list[Method]:
    """The methods that need the training extra, the pipeline among them.

    Raises:
        UsageError: If the training extra is not installed.
    """
    if missing := [name for name in ("lightfm", "lightgbm") if find_spec(name) is None]:
        plain = ",".join(method.name for method in baselines())
        raise UsageError(
            f"{missing[0]} is not installed, so the learned methods cannot be judged; install mycity[train], "
            f"or ask for the plain ones with --methods {plain}."
        )
    from recommender.replay.learned import methods

    return list(methods())


def chosen_methods(names: Sequence[str], *, ablations: bool = False) -> list[Method]:
    """The methods of these names, in the order of the reports; all but the ablations where no name is given.

    Ablations come on top where they are asked for.

    Raises:
        UsageError: If a name is unknown, or a learned one is wanted and the training extra is missing.
    """
    offered = baselines()
    if ablations or not names or not {method.name for method in offered}.issuperset(names):
        offered += learned_methods()
    known = [method.name for method in offered]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"There is no method {unknown[0]!r}; there are {', '.join(known)}.")
    wanted = set(names) or {
        name for name, method in zip(known, offered, strict=True) if not ablation_of(method)
    }
    if ablations:
        wanted |= {method.name for method in offered if ablation_of(method)}
    return [method for method in offered if method.name in wanted]


def ablation_of(method: Method) -> str:
    """What a variant of the pipeline goes without; empty for an ordinary method."""
    return str(getattr(method, "ablation", ""))


def evaluate(
    log: Log, split: Split, methods: Sequence[Method], *, seed: int, most: int = MOST,
    progress: Progress = lambda _stage, _done, _total: None,
) -> Result:  # fmt: skip
    """Judge methods on the test windows of a log; training windows are shown to them first.

    Args:
        log: What happened.
        split: Where time is cut.
        methods: Each of its own name. Variants with an attribute ``ablation`` are reported apart. If the
        pipeline
            is among them, sign-up cold start is judged too.
        seed: Of the methods and of every draw here; the same seed gives the same report but for the seconds.
        most: Training and test ask no more questions than this, each.
        progress: Told (stage, done, total); stages are ``judge`` and ``signup``.

    Raises:
        UsageError: If two methods have one name.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise UsageError(f"Two methods have one name among {', '.join(names)}.")
    training = plan(log, split.frozen, split.test, split.window, most=most, seed=seed)
    test = plan(log, split.test, split.end, split.window, most=most, seed=seed)
    run = _Run(log, split, methods, seed)
    run.over(chain(asked(log, training), asked(log, test)), _steps(progress, "judge", training, test))
    without = {method.name: text for method in methods if (text := ablation_of(method))}
    shipped = [method for method in methods if method.name == PIPELINE]
    return Result(
        log=log,
        split=split,
        seed=seed,
        marks={name: run.marks(name) for name in names if name not in without},
        ablations={name: run.marks(name) for name in without},
        without=without,
        candidates=int(run.offered.sum()),
        asked={"training": (training.kept, training.total), "test": (test.kept, test.total)},
        signup=judge_signup(log, split, shipped[0], seed=seed, most=most, progress=progress)
        if shipped
        else {},
        seconds=run.seconds,
    )


def judge_signup(
    log: Log, split: Split, method: Method, *, seed: int, most: int = MOST,
    progress: Progress = lambda _stage, _done, _total: None,
) -> dict[str, Any]:  # fmt: skip
    """Judge one method on users of whom it knows a role and a few ticks.

    Returns:
        The measures for 3 ticks, for every number of ticks under ``by_interests``, and for comparison those
        of popularity.
    """
    changed = newcomers(log, split, seed)
    training = plan(changed.log, split.frozen, split.test, split.window, most=most, seed=seed)
    test = plan(
        log, split.test, split.end, split.window, most=most // len(TICKS), seed=seed, among=changed.hidden
    )
    run = _Run(changed.log, split, [method, Popularity()], seed)
    weeks = chain(asked(changed.log, training), as_newcomers(asked(log, test), changed))
    run.over(weeks, _steps(progress, "signup", training, test))
    marks = run.marks(method.name)
    column = columns(changed, marks.user)
    by_ticks = {str(ticks): marks.of(column == n) for n, ticks in enumerate(TICKS)}
    main = by_ticks[str(MAIN)]
    asked_of = np.flatnonzero(np.isin(changed.newcomer[:, 0], marks.user))
    plain = run.marks(Popularity.name).of(column == TICKS.index(MAIN))
    return {
        **{key: value for key, value in summary(main, 0).items() if key in SHORT},
        "interests": MAIN,
        "kind": declarable(log, split.test),
        "users": len(asked_of),
        "ticked": float(changed.ticked[asked_of].clip(max=MAIN).mean()) if len(asked_of) else None,
        "questions": len(main),
        "by_interests": {ticks: brief(part) for ticks, part in by_ticks.items()},
        "popularity": brief(plain),
    }


class _Run:
    """Methods on their way through the windows of one log."""

    def __init__(self, log: Log, split: Split, methods: Sequence[Method], seed: int) -> None:
        self._split = split
        self._methods = methods
        self._judge = Judge(log, split.frozen)
        self._parts: dict[str, list[Marks]] = {method.name: [] for method in methods}
        self.offered = np.zeros(len(log.items), dtype=bool)
        self.seconds: dict[str, float] = {}
        for method in methods:
            with self._timed(method.name):
                method.begin(log, split, seed)

    def over(self, weeks: Iterable[list[Question]], step: Callable[[int], None]) -> None:
        """Ask every method about every window; mark the answers of the test."""
        for done, week in enumerate(weeks, 1):
            judged = week[0].start >= self._split.test
            if judged:
                self._judge.open(week)
                for question in week:
                    self.offered[question.items] = True
            for method in self._methods:
                with self._timed(method.name):
                    answers = method.answer(week)
                if judged:
                    self._parts[method.name].append(self._judge.mark(week, answers, method.name))
            step(done)

    def marks(self, name: str) -> Marks:
        """What a method got for all questions of the test."""
        return Marks.joined(self._parts[name])

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def _steps(progress: Progress, stage: str, *plans: Plan) -> Callable[[int], None]:
    total = sum(len(np.unique(one.window)) for one in plans)
    progress(stage, 0, total)
    return lambda done: progress(stage, done, total)
