"""The command that judges the recommender: ``mycity evaluate``. Prints and draws; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.ops import console
from feeds.kernel.errors import UsageError

_BARS = {"judge": "Judging 评测", "signup": "Judging sign-up 评测新用户"}
_ACCURACY = ("method 方法", "NDCG@10", "± se", "R@10", "MRR", "0", "1-19", "20+")
_BEYOND = ("method 方法", "cover@10 覆盖", "diversity 多样", "novelty 新颖", "seconds 秒")


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(evaluate)


def evaluate(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with users.csv, items.csv, interactions.csv; without it, our own feedback."
        ),
    ] = None,
    methods: Annotated[str, typer.Option(help="Only these, e.g. newest,content,pipeline.")] = "",
    chart: Annotated[Path | None, typer.Option(help="Draw the result into this SVG file (no PNG).")] = None,
    seed: Annotated[int, typer.Option(help="Same data and seed, same figures.", min=0)] = 0,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Also judge the pipeline without each of its parts.")
    ] = False,
) -> None:
    """Judge the recommender on a log of what happened, against simpler methods."""
    from recommender.replay.evaluate import chosen_methods
    from recommender.replay.evaluate import evaluate as judge
    from recommender.replay.files import read_folder

    names = [name.strip() for name in methods.split(",") if name.strip()]
    if chart is not None:
        _writable(chart)
    if data is not None:
        chosen = chosen_methods(names, ablations=ablation)
        log, split = read_folder(data)
        with console.progress(_BARS) as progress:
            found = judge(log, split, chosen, seed=seed, progress=progress).json()
        name = data.resolve().name
    else:
        found, name = _own(names, seed=seed, ablation=ablation), "own feedback 本站反馈"
    found = {"data": name, **found}
    if chart is not None and found["enough"]:
        from recommender.replay.chart import chart as draw

        chart.write_text(draw(found, name), encoding="utf-8")
        found["chart"] = str(chart)
    _say(found)


def _own(names: list[str], *, seed: int, ablation: bool) -> dict[str, Any]:
    from api.jobs.judging import judge_own
    from recommender.replay.evaluate import chosen_methods

    with console.services() as services, console.progress(_BARS) as progress:
        return judge_own(
            services, lambda: chosen_methods(names, ablations=ablation), seed=seed, progress=progress
        )


def _writable(chart: Path) -> None:
    """Say that a file cannot be written before minutes are spent on what goes into it."""
    if chart.suffix.lower() != ".svg":
        raise UsageError(
            f"The chart is written as SVG only, not as {chart.suffix.upper().strip('.') or 'anything else'}; "
            f"name it {chart.stem or 'chart'}.svg. Every browser opens it."
        )
    if not chart.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {chart.resolve().parent} for the chart; make it first.")


def _say(found: Mapping[str, Any]) -> None:
    if console.options.json:
        console.say("", **found)
        return
    if found["enough"]:
        _say_methods(found)
        _say_ablations(found)
        _say_signup(found)
        _say_bands(found)
        for remark in found["remarks"]:
            console.say(f"- {remark}")
        if "chart" in found:
            console.say(f"Chart 图表: {found['chart']}")
    else:
        console.say(found["reason"])
    if "off_policy" in found:
        _say_off_policy(found["off_policy"])


def _say_methods(found: Mapping[str, Any]) -> None:
    from recommender.replay.chart import label

    split, counts = found["split"], found["counts"]
    methods = found["methods"].items()
    title = f"Evaluation 评测: {found['data']}"
    console.table(
        title, _ACCURACY, [(label(name), *_accuracy(values)) for name, values in methods], "methods"
    )
    console.table(
        "Beyond accuracy 准确之外", _BEYOND, [(label(n), *_beyond(values)) for n, values in methods], ""
    )
    bands: dict[str, Any] = next(iter(found["methods"].values()), {"bands": {}})["bands"]
    sizes = ", ".join(f"{name}: {values['n']}" for name, values in bands.items())
    console.say(
        f"{counts['questions']} questions ({sizes}) about {counts['candidates']} new items, "
        f"{split['test_from'][:10]} to {split['test_to'][:10]}, windows of {split['window_days']:g} days; "
        f"vocabulary frozen {split['vocabulary_frozen'][:10]}; seed {found['seed']}."
    )


def _accuracy(values: Mapping[str, Any]) -> list[str]:
    whole = [_figure(values[key]) for key in ("ndcg10", "se", "recall10", "mrr")]
    return [*whole, *(_figure(band["ndcg10"]) for band in values["bands"].values())]


def _beyond(values: Mapping[str, Any]) -> list[str]:
    shares = [_figure(values["coverage10"]), _figure(values["diversity10"])]
    return [*shares, _figure(values["novelty10"], 1), _figure(values["seconds"], 1)]


def _say_ablations(found: Mapping[str, Any]) -> None:
    rows = [
        (
            values["without"],
            _figure(values["ndcg10"]),
            _figure(values.get("adds")),
            _figure(values.get("adds_se")),
        )
        for values in found.get("ablations", {}).values()
    ]
    if rows:
        columns = ("without 去掉", "NDCG@10", "it adds 贡献", "± se")
        console.table("Ablation 消融", columns, rows, "ablations")


def _say_signup(found: Mapping[str, Any]) -> None:
    cold = found.get("signup_cold")
    if cold:
        steps = ", ".join(f"{n}: {_figure(part['ndcg10'])}" for n, part in cold["by_interests"].items())
        console.say(
            f"Sign-up 新用户 (role and {cold['interests']} interests): NDCG@10 {_figure(cold['ndcg10'])} "
            f"± {_figure(cold['se'])}; by number of interests {steps}; popularity "
            f"{_figure(cold['popularity']['ndcg10'])}; "
            f"{cold['questions']} questions of {cold['users']} users."
        )


def _say_bands(found: Mapping[str, Any]) -> None:
    for band, values in found.get("pipeline", {}).get("best_part", {}).items():
        if values["part"] is not None:
            verdict = "holds 达标" if values["within_one_se"] else "WORSE 变差"
            console.say(
                f"{band}: pipeline against {values['part']}, the best part: {values['difference']:+.3f} "
                f"± {_figure(values['se'])}, {verdict}."
            )


def _say_off_policy(off: Mapping[str, Any]) -> None:
    if not off["enough"]:
        console.say(
            f"Too little exploration to judge by: {off['rows']} explored picks were shown, "
            f"{off['needed']} are needed."
        )
        return
    console.say(
        f"Explored slot 探索位: opened {_figure(off['logged'])} ± {_figure(off['logged_se'])}; filled evenly "
        f"it would have been {_figure(off['snips'])} ± {_figure(off['snips_se'])} "
        f"({off['rows']} rows, worth {off['effective']:.0f})."
    )


def _figure(value: float | None, digits: int = 3) -> str:
    """A number as it stands in tables; a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"
