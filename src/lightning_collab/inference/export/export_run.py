"""A folder that has all one needs to use a model: the model, its vocabularies, a card."""

import json
import os
from pathlib import Path
from typing import Literal

from lightning_collab.errors import ConfigError, StorageError
from lightning_collab.inference.export.model_card import model_card
from lightning_collab.inference.export.onnx_file import ExportedModel, ExportError, onnx_bytes
from lightning_collab.runs.files import write_atomically
from lightning_collab.training.trained_model import TrainedModel

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
