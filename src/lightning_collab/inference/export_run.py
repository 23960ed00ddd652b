"""A folder that has all one needs to use a model: the model, its vocabularies, a card.

The card is what one must know of a model before using it, as Markdown.
"""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml

from lightning_collab.errors import ConfigError, StorageError
from lightning_collab.inference.onnx_file import ExportedModel, ExportError, onnx_bytes
from lightning_collab.metrics import RANKING_BASELINES, RATING_BASELINES
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.text import filled_in, printable
from lightning_collab.training.trained_model import TrainedModel

CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan (2015). The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
    "https://doi.org/10.1145/2827872"
)
_MOVIELENS = (
    "MovieLens data of GroupLens, University of Minnesota, under GroupLens' terms "
    "(https://grouplens.org/datasets/movielens/, the README of the release is what holds): for "
    "research; acknowledge the data set in publications; state or imply no endorsement by the "
    "University of Minnesota or GroupLens; no commercial or revenue-bearing use without permission "
    "from a faculty member of GroupLens; no warranty. "
)
_NOT_FURTHER = "The data must not be redistributed without separate permission. "
_FURTHER = "The data may be redistributed, transformations included, under the same conditions. "
RELEASES = {
    "ml_100k": "MovieLens 100K (1998)",
    "ml_1m": "MovieLens 1M (2003)",
    "ml_10m": "MovieLens 10M (2009)",
    "ml_20m": "MovieLens 20M (2015)",
    "ml_25m": "MovieLens 25M (2019)",
    "ml_32m": "MovieLens 32M (2024)",
    "ml_latest_small": "MovieLens latest-small",
}


def data_name(data: dict[str, Any]) -> str:
    """What a user calls the data.

    Args:
        data: the `data` section of a run's config.
    """
    name = str(data.get("name"))
    if name == "ml_latest_small":
        return f"{RELEASES[name]}, edition {data.get('edition')}"
    if name == "csv":
        return "a file of its owner"
    return RELEASES.get(name, f"{name} ratings")


def data_terms(data: dict[str, Any]) -> str:
    """A paragraph on license and citation.

    Args:
        data: the `data` section of a run's config.
    """
    name = str(data.get("name"))
    if name == "synthetic":
        return "Synthetic ratings, drawn by lightning-collab; nobody's data, no terms."
    if name not in RELEASES:
        return (
            "The terms of the data are those of its owner. **State them here before you "
            "pass this model on**: factors are made of ratings, and the vocabularies hold the ids."
        )
    # The license differs from release to release; where it is not known, the stricter holds.
    further = _FURTHER if name == "ml_latest_small" else _NOT_FURTHER
    return f"{_MOVIELENS}{further}\n\nCite: {CITATION}"


def model_card(run: TrainedModel, kind: str) -> str:
    """The card of an exported run.

    Args:
        run: the trained run.
        kind: format of the export, `onnx` or `safetensors`.

    Returns:
        Markdown; its code is Python that runs in the export's folder.
    """
    config = run.config
    metrics = run.metrics
    data = config.get("data") or {}
    example = f"{_examples(run.user_vocabulary.ids)}, {_examples(run.item_vocabulary.ids)}"
    of_gradient = ("optimizer", "scheduler") if run.model.trained_by == "gradient" else ()
    plugins = config.get("plugins") or {}
    trained_by = ("model", "features", *of_gradient, *(["plugins"] if plugins else []))
    return filled_in(
        "lightning_collab.inference",
        "model_card.md.j2",
        escaped=False,  # Markdown, and nothing in it comes from a data file but ids
        name=run.model_name,
        description=run.model.description,
        kind=kind,
        data=data_name(data),
        terms=data_terms(data),
        users=len(run.users),
        items=len(run.items),
        ratings=metrics.get("train_ratings", int(run.users["ratings"].sum())),
        low=f"{run.rating_range[0]:g}",
        high=f"{run.rating_range[1]:g}",
        split=_split(config, metrics),
        parts=[part for part in ("val", "test") if f"{part}/rmse" in metrics],
        metrics=metrics,
        ranks=run.ranks,
        rankings=_rankings(metrics),
        baselines={
            label: metrics[key]
            for name, label in RATING_BASELINES.items()
            if (key := f"baseline/{name}_rmse") in metrics
        },
        baselines_of="test" if "test/rmse" in metrics else "val",
        seed=config.get("seed"),
        epochs=metrics.get("epochs"),
        checkpoint=run.checkpoint.name,
        commit=metrics.get("git_commit"),
        config=yaml.safe_dump(
            {key: config[key] for key in trained_by if key in config}, sort_keys=False
        ),
        example=example,
        formula=_formula(run),
        distribution=plugins.get("model", "lightning-collab"),
        time=list((config.get("features") or {}).get("time") or {}),
        versions={package: version(package) for package in PACKAGES[kind]},
    )


def _formula(run: TrainedModel) -> tuple[str, ...]:
    """Up to the raw number where that is what is used."""
    lines = run.model.numpy_formula()
    return tuple(line for line in lines if not (run.ranks and line.startswith("rating")))


# Key of metrics.json -> head of a column.
RANKED = {
    "val": "val",
    "test": "test",
    **{f"baseline/{name}": label for name, label in RANKING_BASELINES.items()},
}


def _rankings(metrics: dict[str, Any]) -> dict[str, Any]:
    """Rankings as the card shows them, a row a metric; without rows where there are none."""
    names = [key.partition("/")[2] for key in metrics if key.startswith(("val/", "test/"))]
    names = [name for name in dict.fromkeys(names) if "@" in name]
    shown = {
        prefix: head
        for prefix, head in RANKED.items()
        if any(f"{prefix}/{name}" in metrics for name in names)
    }
    rows = [(name, *(metrics.get(f"{p}/{name}") for p in shown)) for name in names]
    return {"header": ["", *shown.values()], "rows": rows}


# That the code on the card needs.
PACKAGES = {"onnx": ("onnxruntime", "numpy"), "safetensors": ("safetensors", "numpy")}


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
    sizes = f": {', '.join(counts)} ratings" if counts else ""
    return f"`{split.get('name')}` ({keys}){sizes}"


Format = Literal["onnx", "safetensors"]
VOCABULARIES = "vocabularies.json"
CARD = "README.md"


def export_run(run: TrainedModel, kind: Format, folder: Path, *, overwrite: bool) -> list[Path]:
    """Write the model, its vocabularies and its card.

    Args:
        run: the trained run.
        kind: `onnx`: model.onnx; `safetensors`: model.safetensors.
        folder: is made where it is not there.
        overwrite: whether files of these names may be replaced.

    Returns:
        The files.

    Raises:
        ConfigError: there are such files already.
        ExportError: see `onnx_bytes`; a package is missing.
        StorageError: they cannot be written.
    """
    if not run.model.export_tables():
        raise ExportError(
            f"model={run.model_name} has no tables of users and items to export; write its "
            "recommendations instead: recommend user=all output=<file>.parquet"
        )
    paths = [folder / name for name in (f"model.{kind}", VOCABULARIES, CARD)]
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise ConfigError(
            f"output: {there[0]} already exists; set overwrite=true to replace it, or another "
            "folder"
        )
    model = onnx_bytes(run) if kind == "onnx" else safetensors_bytes(run)
    contents: list[str | bytes] = [model, vocabularies_json(run), model_card(run, kind)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.of(error, folder) from error
    for path, content in zip(paths, contents, strict=True):
        write_atomically(path, content)
    return paths


def safetensors_bytes(run: TrainedModel) -> bytes:
    """Tables and layers as safetensors: `users.embeddings`, `items.biases`, `hidden.weight`...

    Args:
        run: the trained run.

    Returns:
        The content of the file; its metadata have the model's config and the rating range.

    Raises:
        ExportError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ExportError(
            "format=safetensors needs safetensors: pip install 'lightning-collab[export]'"
        ) from error
    exported = ExportedModel(run)
    tensors = {
        f"{side}.{group}": table.clone()
        for group, sides in exported.tables.items()
        for side, table in sides.items()
    }
    tensors |= {name: value.contiguous() for name, value in exported.further_weights().items()}
    metadata = {
        "model": json.dumps(run.config["model"]),
        "rating_range": json.dumps(list(run.rating_range)),
    }
    content: bytes = save(tensors, metadata)
    return content


def vocabularies_json(run: TrainedModel) -> str:
    """The raw ids: the k-th of a list, counted from 0, has row k + 1; row 0 is that of all others.

    Args:
        run: the trained run.
    """
    vocabularies = {
        "users": run.user_vocabulary.ids.to_list(),
        "items": run.item_vocabulary.ids.to_list(),
    }
    return json.dumps({"unknown_row": 0, "first_row": 1, **vocabularies}) + os.linesep
