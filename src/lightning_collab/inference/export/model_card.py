"""What one must know of a model before using it, as Markdown."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from lightning_collab.errors import CheckpointError
from lightning_collab.inference.export.data_terms import data_name, data_terms
from lightning_collab.inference.export.loading_code import onnx_code, safetensors_code
from lightning_collab.inference.plain_text import printable
from lightning_collab.models import BayesianFactors, LeastSquaresFactors

if TYPE_CHECKING:
    from lightning_collab.inference.trained_run import TrainedRun

MEASURES = ("rmse", "mae")
BASELINES = {
    "baseline/bias_rmse": "user and item biases",
    "baseline/mean_rmse": "the mean rating",
}
DESCRIPTIONS = {
    "embedding_dot_bias": "dot product of a user's and an item's factors plus both biases",
    "embedding_net": "both embeddings through a hidden layer",
    "matrix_product": "dot product of a user's and an item's factors",
    "least_squares_factors": "factors and biases by alternating ridge regression",
    "bayesian_factors": "mean prediction over samples of factors and biases (Gibbs sampling)",
}


def model_card(run: TrainedRun, kind: str) -> str:
    """The card of an exported run.

    Args:
        run: the trained run.
        kind: format of the export, `onnx` or `safetensors`.

    Returns:
        Markdown; its code is Python that runs in the export's folder.
    """
    config = run.config
    metrics = _metrics(run)
    example = (
        repr(_examples(run.user_vocabulary.ids)) + ", " + repr(_examples(run.item_vocabulary.ids))
    )
    code = (
        onnx_code(example)
        if kind == "onnx"
        else safetensors_code(run.model, run.rating_range, example)
    )
    environment = Environment(  # Markdown, and nothing in it comes from a data file but ids
        loader=PackageLoader("lightning_collab.inference"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("model_card.md.j2").render(
        name=run.model_name,
        description=DESCRIPTIONS.get(run.model_name, ""),
        kind=kind,
        data=data_name(config.get("data") or {}),
        terms=data_terms(config.get("data") or {}),
        users=len(run.users),
        items=len(run.items),
        ratings=metrics.get("train_ratings", int(run.users["ratings"].sum())),
        low=f"{run.rating_range[0]:g}",
        high=f"{run.rating_range[1]:g}",
        split=_split(config, metrics),
        parts=[part for part in ("val", "test") if f"{part}/rmse" in metrics],
        metrics=metrics,
        baselines={name: metrics[key] for key, name in BASELINES.items() if key in metrics},
        baselines_of="test" if "test/rmse" in metrics else "val",
        seed=config.get("seed"),
        epochs=metrics.get("epochs"),
        checkpoint=run.checkpoint.name,
        commit=metrics.get("git_commit"),
        config=yaml.safe_dump(
            {key: config[key] for key in _trained_by(run) if key in config},
            sort_keys=False,
        ),
        code=code,
        time=list((config.get("features") or {}).get("time") or {}),
        versions={package: _version(package) for package in PACKAGES[kind]},
    )


PACKAGES = {"onnx": ("onnxruntime", "numpy"), "safetensors": ("safetensors", "numpy")}
"""That the code on the card needs."""


def _metrics(run: TrainedRun) -> dict[str, Any]:
    try:
        return run.directory.read_metrics()
    except CheckpointError:
        return {}  # the run has not ended; the card says that nothing was measured


def _examples(ids: pl.Series) -> list[Any]:
    """Two ids, for the code on the card; text in it is JSON, which is Python too."""
    return [json.loads(json.dumps(raw)) for raw in ids.head(2).to_list()]


def _split(config: dict[str, Any], metrics: dict[str, Any]) -> str:
    split = config.get("split") or {}
    keys = ", ".join(f"{key} {printable(value)}" for key, value in split.items() if key != "name")
    counts = [
        f"{metrics[f'{part}_ratings']:,} {name}"
        for part, name in (("train", "training"), ("val", "validation"), ("test", "test"))
        if metrics.get(f"{part}_ratings")
    ]
    return (
        f"`{split.get('name')}` ({keys}){': ' + ', '.join(counts) + ' ratings' if counts else ''}"
    )


def _trained_by(run: TrainedRun) -> tuple[str, ...]:
    """The sections of the config that decide how the model came to be."""
    if isinstance(run.model, LeastSquaresFactors | BayesianFactors):
        return ("model", "features")
    return ("model", "features", "optimizer", "scheduler")


def _version(package: str) -> str:
    return version(package)
