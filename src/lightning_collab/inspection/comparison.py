"""Runs side by side: what differs in their configs, their numbers, curves and errors."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_collab.config.section import flat
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import LightningCollabError
from lightning_collab.inspection import figures
from lightning_collab.inspection.figures import Curve, picture
from lightning_collab.inspection.pages import PageTable, Picture, fact, render
from lightning_collab.inspection.predictions import Predictions, predict_part, reload_data
from lightning_collab.runs.directory import short_keys
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

NUMBERS = {
    "val/rmse": "val RMSE",
    "val/mae": "val MAE",
    "test/rmse": "test RMSE",
    "test/mae": "test MAE",
    "baseline/bias_rmse": "biases RMSE",
    "val/ndcg@10": "val NDCG@10",
    "val/recall@10": "val recall@10",
    "test/ndcg@10": "test NDCG@10",
    "test/recall@10": "test recall@10",
    "test/coverage@10": "test coverage@10",
    "baseline/most_popular/ndcg@10": "most popular NDCG@10",
    "baseline/ease/ndcg@10": "EASE NDCG@10",
    "embeddings/genre_overlap": "genre overlap",
    "epochs": "epochs",
    "fit_seconds": "fit",
    "train_ratings_per_second": "ratings/s",
    "parameters": "parameters",
    "seed": "seed",
}
CURVES = {
    "val/rmse": "validation RMSE",
    "val/ndcg@10": "validation NDCG@10",
    "train/loss": "training loss",
    "embeddings/genre_overlap": "genre overlap",
}


class Compared(NamedTuple):
    """One run of a comparison.

    Attributes:
        name: short, and told apart from the others.
        curves: its scalars.
        predictions: of its validation or test part; None where there is none, or where its
            ratings cannot be had any more.
    """

    name: str
    curves: dict[str, Curve]
    predictions: Predictions | None


def compare(runs: Sequence[TrainedModel]) -> str:
    """A page with runs side by side.

    Args:
        runs: two or more.
    """
    names = told_apart(
        [run.config for run in runs], short_names([run.directory.path for run in runs])
    )
    ratings: dict[str, RatingDataModule] = {}
    compared = [
        Compared(name, figures.read_curves_of(run.directory), _predictions(run, ratings))
        for name, run in zip(names, runs, strict=True)
    ]
    numbers = [run.metrics for run in runs]
    ranking = [run.ranks for run in runs]
    return render(
        "comparison.html.j2",
        title=f"{len(runs)} runs side by side",
        numbers=_numbers_table(names, numbers),
        measured_by=_measured_by(dict(zip(names, runs, strict=True))),
        directories=_directories_table(names, runs),
        best=_best(numbers, ranking),
        differences=_differences_table(names, [run.config for run in runs]),
        curves=list(_curve_pictures(compared)),
        errors=list(_error_pictures(compared)),
        missing=[
            each.name
            for each, run in zip(compared, runs, strict=True)
            if each.predictions is None and not run.ranks
        ],
    )


def short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without what all have in common; those of the same directory get a number.

    Args:
        paths: of run directories.
    """
    resolved = [path.resolve() for path in paths]
    common = Path(os.path.commonpath([path.parent for path in resolved]))
    names = [path.relative_to(common).as_posix() for path in resolved]
    return [
        name if names.count(name) == 1 else f"{name} ({number})"
        for number, name in enumerate(names, 1)
    ]


# What a run is not told by: how it is shown and where it is written.
UNTOLD = re.compile(r"(callbacks|logger|metrics|hydra)\b|data\.(root|path)$")
MOST_TOLD = 3


def told_apart(configs: Sequence[Mapping[str, Any]], fallback: Sequence[str]) -> list[str]:
    """A name for each run by what differs: `lr 0.001`, `model embedding_net`.

    Of a part that is another one in some runs (model, loss, ...), its name says enough.

    Args:
        configs: of the runs.
        fallback: a name for each, where nothing differs or more than a few keys do.
    """
    settings = [dict(flat(config)) for config in configs]
    # Keys that all have; those of one part alone follow from its name.
    shared = [key for key in settings[0] if all(key in each for each in settings)]
    differing = [
        key
        for key in shared
        if not UNTOLD.match(key) and any(each[key] != settings[0][key] for each in settings)
    ]
    replaced = {key.removesuffix("name") for key in differing if key.endswith(".name")}
    told = [
        key
        for key in differing
        if key.endswith(".name") or not any(key.startswith(part) for part in replaced)
    ][:MOST_TOLD]
    called = short_keys(told)
    called |= {key: key.removesuffix(".name") for key in told if key.endswith(".name")}
    names = [", ".join(f"{called[key]} {_shown(each[key])}" for key in told) for each in settings]
    return [
        name if name and names.count(name) == 1 else f"{name} ({other})" if name else other
        for name, other in zip(names, fallback, strict=True)
    ]


def _predictions(run: TrainedModel, ratings: dict[str, RatingDataModule]) -> Predictions | None:
    """Predictions of a run; ratings that several runs share are read once."""
    key = repr([run.config.get(section) for section in ("data", "split", "seed")])
    try:
        if key not in ratings:
            ratings[key] = reload_data(run.directory)
        return predict_part(run, ratings[key])
    except LightningCollabError as error:
        log.warning("%s: errors are not shown: %s", run.directory.path, error)
        return None


def _numbers_table(names: Sequence[str], numbers: Sequence[Mapping[str, Any]]) -> PageTable:
    shown = {key: label for key, label in NUMBERS.items() if any(key in each for each in numbers)}
    rows = [
        (name, *(fact(key, each[key]) if key in each else None for key in shown))
        for name, each in zip(names, numbers, strict=True)
    ]
    return PageTable(["run", *shown.values()], rows)


def _measured_by(runs: Mapping[str, TrainedModel]) -> str:
    """What the numbers are, and which way is better."""
    errors = "errors in rating units; lower is better"
    rankings = "rankings of the whole catalog; higher is better"
    ranking = [name for name, run in runs.items() if run.ranks]
    if not ranking:
        return errors
    if len(ranking) == len(runs):
        return rankings
    others = [name for name in runs if name not in ranking]
    return f"{', '.join(others)}: {errors}. {', '.join(ranking)}: {rankings}"


def _best(numbers: Sequence[Mapping[str, Any]], ranking: Sequence[bool]) -> int | None:
    """The row with the lowest validation RMSE, or test RMSE where no run validates.

    Where all runs learned to rank, that with the highest NDCG; of both kinds there is no best one.

    Args:
        numbers: of each run.
        ranking: whether each learned to rank.
    """
    if any(ranking) and not all(ranking):
        return None
    metric, sign = ("ndcg@10", -1) if all(ranking) else ("rmse", 1)
    for key in (f"val/{metric}", f"test/{metric}"):
        scores = {number: each[key] for number, each in enumerate(numbers) if key in each}
        if scores:
            return min(scores, key=lambda number: sign * float(scores[number]))
    return None


def _directories_table(names: Sequence[str], runs: Sequence[TrainedModel]) -> PageTable:
    """Which run is meant by a name."""
    return PageTable(
        ["run", "directory"],
        [(name, str(run.directory.path)) for name, run in zip(names, runs, strict=True)],
    )


def _differences_table(names: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> PageTable:
    settings = [dict(flat(config)) for config in configs]
    rows = []
    for key in dict.fromkeys(key for each in settings for key in each):
        values = [each.get(key, ...) for each in settings]
        if any(value != values[0] for value in values[1:]):
            rows.append((key, *map(_shown, values)))
    return PageTable(["key", *names], rows)


def _shown(value: Any) -> str:
    """A value as the config file has it; `...` where a config has no such key."""
    if value is ...:
        return ""
    return "null" if value is None else str(value)


def _curve_pictures(compared: Sequence[Compared]) -> Iterator[Picture]:
    for tag, label in CURVES.items():
        found = {each.name: each.curves[tag] for each in compared if tag in each.curves}
        if found:
            yield picture(figures.curves_figure({label: found}), label[0].upper() + label[1:])


def _error_pictures(compared: Sequence[Compared]) -> Iterator[Picture]:
    found = {each.name: each.predictions for each in compared if each.predictions is not None}
    if not found:
        return
    for side in ("user", "item"):
        caption = f"RMSE by the number of training ratings of the {side}"
        yield picture(figures.by_count_figure(found, side), caption)
    yield picture(figures.calibration_figure(found), "Calibration, with 95% intervals")
