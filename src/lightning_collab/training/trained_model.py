"""Reading the files of a run directory, with errors that say which and what to do."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from lightning_collab.config.model import Model, ModelConfig
from lightning_collab.config.section import Section, checked
from lightning_collab.data.metadata import ID_COLUMN, Side
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.models import RatingModel
from lightning_collab.runs.checkpoints import checkpoint_of, read_checkpoint
from lightning_collab.runs.directory import RunDirectory

NEEDED = ("vocabularies", "rating_range")
"""What our checkpoints have beside Lightning's own."""


def model_config(config: dict[str, Any], directory: RunDirectory) -> ModelConfig:
    """The model's own part of a run's config; all else may be of any version.

    Args:
        config: of the run, as plain values.
        directory: of the run.

    Raises:
        ConfigError: the model is of another version.
    """
    try:
        return checked(_ModelOnly, {"model": config.get("model")}).model
    except ConfigError as error:
        raise ConfigError(
            f"{directory.config_file}: not a model that this version of lightning-collab "
            f"({version('lightning-collab')}) knows: {_problems(error)}. "
            f"{_made_by(directory)}or train it again with this one"
        ) from None


class _ModelOnly(Section):
    """The only section of a run's config that its use needs."""

    model: Model


def _problems(error: ConfigError) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines()[1:])


def _made_by(directory: RunDirectory) -> str:
    """Which version to use instead."""
    try:
        commit = directory.read_metrics().get("git_commit")
    except CheckpointError:
        commit = None
    what = f"the one that made the run (commit {commit})" if commit else "the one that made the run"
    return f"Use {what}, "


def read_trained(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of ours.

    Args:
        path: of the file.

    Raises:
        CheckpointError: it is not there, not whole, or of another program.
    """
    content = read_checkpoint(path)
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise CheckpointError(
            f"{path}: not a checkpoint of lightning-collab, or of a version before 0.1: it has no "
            f"{' and no '.join(missing)}. Train the model again"
        )
    return content


def checkpoint_of_run(directory: RunDirectory, asked: str | None) -> Path:
    """The file that a person means: the best one, or the last where there is no best.

    Args:
        directory: of the run.
        asked: `best`, `last` or the path of a file; None: the best there is.

    Raises:
        CheckpointError: there is none.
    """
    if asked is not None:
        return checkpoint_of(directory, asked)
    for path in (directory.best_checkpoint, directory.last_checkpoint):
        if path.is_file():
            return path
    raise CheckpointError(
        f"{directory.path}: the run has no checkpoint (neither best.ckpt nor last.ckpt in "
        f"{directory.checkpoints}); it has not finished an epoch. To train it, say "
        f"scripts/train.py"
    )


def take_weights(model: RatingModel, state: dict[str, Tensor], path: Path) -> None:
    """Give a model the parameters and buffers of a checkpoint.

    Args:
        model: as the config describes it.
        state: by the model's own names.
        path: where they came from.

    Raises:
        CheckpointError: they are of another model.
    """
    try:
        with torch.no_grad():
            model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not of the model in config.yaml: {error}") from error


def described(path: Path, side: Side, vocabulary: Vocabulary) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is known of the users or items of a run.

    Args:
        path: of users.parquet or items.parquet.
        side: which of them.
        vocabulary: of the checkpoint.

    Returns:
        The rows of the vocabulary in its order, and the other rows.

    Raises:
        CheckpointError: the file is missing, not readable or of another run.
    """
    column = ID_COLUMN[side]
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: there is none; the run was made by a version that did not keep its "
            f"{side}. Train it again"
        ) from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CheckpointError(f"{path}: not readable: {error}") from error
    known = len(vocabulary.ids)
    if column not in frame.columns or not frame[column][:known].equals(
        vocabulary.ids, check_dtypes=True
    ):
        raise CheckpointError(f"{path}: its {side} are not those of the checkpoint")
    return frame[:known], frame[known:]
