"""Commands about the learned model: train it, teach it further, see how it does, put another one in use."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.jobs.training import train_further, train_model
from api.ops import console
from api.wiring import Services
from feeds.kernel.errors import UsageError

if TYPE_CHECKING:  # numerical libraries are loaded by the command that needs them
    from api.jobs.watching import View
    from recommender.figures import Measures

_BARS = {"train": "Training 训练"}


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(train)
    app.command()(model)


def train(
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the model before.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Only teach the model in use what came after it.")
    ] = False,
) -> None:
    """Train the model on what residents did, and use it from now on."""
    from api.jobs import watching
    from recommender.monitor import held_out_said, ranker_said

    if rollback and partial:
        raise UsageError("Give either --rollback or --partial.")
    with console.services() as services:
        if rollback:
            version = watching.use(services, "")
            console.say(f"Now using {version}.", model=version)
            return
        began = time.perf_counter()
        if partial:
            done = train_further(services)
            services.notebook.change(refreshed_at=services.clock.now(), said=done.said)
            console.say(done.said, model=done.version, seconds=round(time.perf_counter() - began, 2))
            return
        with console.progress(_BARS) as progress:
            made, name = train_model(services, progress=lambda done, total: progress("train", done, total))
        seconds = round(time.perf_counter() - began, 2)
        said = f"Trained {name} from {made.info.rows} pairs in {seconds} s; in use now."
        services.notebook.change(refreshed_at=services.clock.now(), said=said)
        more = [text for text in (said, held_out_said(made.info), ranker_said(made.info)) if text]
        console.say(" ".join(more), model=name, seconds=seconds, info=made.info.to_dict())


def model(
    use: Annotated[str, typer.Option("--use", help="Put this kept version in use.")] = "",
    measure: Annotated[bool, typer.Option("--measure", help="Measure now, not once an hour.")] = False,
) -> None:
    """Show which model is in use, how it does, and which others are kept."""
    from api.jobs import watching

    with console.services() as services:
        if use:
            console.say(f"Now using {watching.use(services, use)}.", model=use)
            return
        found = watching.watch(services, measure_now=True) if measure else watching.view(services)
        if console.options.json:
            console.say("", **_plain(services, found))
            return
        console.say(found.verdict.why)
        if services.notebook.read().said:
            console.say(f"Last training: {services.notebook.read().said}")
        for line in _lines(found):
            console.say(line)
        rows = [_row(version, info, found) for version, info in watching.kept(services)]
        columns = ("version", "kind", "trained", "full", "pairs", "ndcg10", "in use")
        console.table("Models 模型", columns, rows, "versions")


def _row(version: str, info: Any, found: View) -> tuple[Any, ...]:
    mark = "serving" if version == found.serving else "named" if version == found.standing.current else ""
    if info is None:
        return version, "", "", "", "", "", mark or "unfit"
    score = info.metrics.get("ndcg10_learned")
    return (
        version, info.kind, f"{info.trained_at:%Y-%m-%d %H:%M}", f"{info.full:%Y-%m-%d %H:%M}", info.rows,
        "–" if score is None else f"{score:.3f}", mark,
    )  # fmt: skip


def _lines(found: View) -> list[str]:
    from recommender.monitor import held_out_said, ranker_said

    lines = [] if found.info is None else [held_out_said(found.info), ranker_said(found.info)]
    last = found.notes.selection
    if last is not None:
        lines.append(
            f"Last selection: {last.at:%Y-%m-%d %H:%M} UTC, {last.profiles} profiles, {last.picks} picks, "
            f"{last.conflicts} conflicts, {last.seconds:g} s, by {last.model or 'rules'}."
        )
    return [line for line in lines if line] + (
        _measured(found.notes.measures) if found.notes.measures else []
    )


def _measured(one: Measures) -> list[str]:
    part = " (a sample: coverage is at least that)" if one.sampled else ""
    lines = [f"Measured {one.at:%Y-%m-%d %H:%M} UTC on {one.editions} editions, {one.picks} picks{part}."]
    for days, share in one.coverage.items():
        lines.append(f"Coverage {days} days: {share.rate:.1%} of {share.whole:g} notices.")
    if one.reasons:
        lines.append("First reasons: " + ", ".join(f"{share.name} {share.rate:.0%}" for share in one.reasons))
    lines.append(f"Explored: {one.explored:.1%} of picks.")
    compared = one.comparison
    if compared is not None:
        lines.append(
            f"Opened of seen: {compared.personalised:.2%}, control group {compared.control:.2%}; difference "
            f"{compared.difference:+.2%} ({compared.low:+.2%} to {compared.high:+.2%}): {compared.verdict}."
        )
    for name, parity in one.parity.items():
        if parity.least is not None and parity.most is not None:
            lines.append(f"Parity between {name}s: {parity.least:.2f} to {parity.most:.2f} (1 is even).")
    if one.wait_median is not None:
        lines.append(f"From shown to used, median: {one.wait_median / 60:.0f} minutes.")
    return lines


def _plain(services: Services, found: View) -> dict[str, Any]:
    from api.jobs import watching
    from recommender.figures import measures_to

    notes, info = found.notes, found.info
    return {
        "state": found.verdict.state, "alarm": found.verdict.alarm, "why": found.verdict.why,
        "zh": found.verdict.zh, "since": notes.state_since, "serving": found.serving,
        "current": found.standing.current, "info": info.to_dict() if info else None,
        "versions": [
            {"version": version, "fit": own is not None, "info": own.to_dict() if own else None}
            for version, own in watching.kept(services)
        ],
        "said": notes.said,
        "selection": asdict(notes.selection) if notes.selection else None,
        "measures": measures_to(notes.measures) if notes.measures else None,
    }  # fmt: skip
