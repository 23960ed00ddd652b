"""A trained model with all that belongs to it, from its run directory alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from lightning_collab.config.model import Model
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.inference.catalogue import ID_COLUMN, Side
from lightning_collab.models import RatingFacts, RatingModel, build_model
from lightning_collab.training.checkpoints import checkpoint_of, read_checkpoint
from lightning_collab.training.run_directory import RunDirectory

MODEL_PREFIX = "model."
"""What Lightning puts before the names of the model's own parameters in a checkpoint."""


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained model, the ids of its rows, and what is known of them.

    Attributes:
        directory: of the run.
        checkpoint: the file that the weights came from.
        config: of the run, as plain values; not checked, so that a run of an earlier version can be
            used as long as its model is known.
        model: on the processor, in evaluation mode.
        user_vocabulary: raw user ids of the model's rows.
        item_vocabulary: raw item ids of the model's rows.
        rating_range: lowest and highest rating.
        users: one row for each known user, `users[k]` for row `k + 1` of the model: `user`, the
            features of the source, `ratings` and `mean_rating` of the training part.
        items: the same for items: `item`, features, `ratings` and `mean_rating`.
        unseen_users: users without training ratings, which the model does not know.
        unseen_items: items without training ratings, which the model does not know.
    """

    directory: RunDirectory
    checkpoint: Path
    config: dict[str, Any]
    model: RatingModel
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    rating_range: tuple[float, float]
    users: pl.DataFrame
    items: pl.DataFrame
    unseen_users: pl.DataFrame
    unseen_items: pl.DataFrame

    @property
    def model_name(self) -> str:
        """The model's name in the config."""
        return str(self.config["model"]["name"])


def load(run: str | Path, checkpoint: str | None = None) -> TrainedRun:
    """Load a trained run; neither the ratings nor the repository are needed.

    Args:
        run: the run directory.
        checkpoint: `best`, `last` or the path of a file; None: best.ckpt, or last.ckpt where the
            run has no best.

    Raises:
        CheckpointError: not a run directory, no checkpoint in it, or one of another model.
        ConfigError: the run's model is of another version.

    Example:
        >>> import lightning_collab
        >>> trained = lightning_collab.load("outputs/train/my-run")  # doctest: +SKIP
        >>> trained.items.sort("ratings").tail(3)  # doctest: +SKIP
    """
    directory = RunDirectory(Path(run))
    config = directory.read_plain_config()
    path = _checkpoint(directory, checkpoint)
    content = read_checkpoint(path)
    vocabularies: dict[Side, Vocabulary] = {
        side: Vocabulary.from_state(content["vocabularies"][side]) for side in ID_COLUMN
    }
    low, high = content["rating_range"]
    facts = RatingFacts(
        user_rows=len(vocabularies["users"]),
        item_rows=len(vocabularies["items"]),
        rating_range=(low, high),
        mean_rating=0.0,  # a buffer of the model, so the checkpoint has the real one
    )
    model = build_model(_model_config(config, directory), facts)
    _take_weights(model, content["state_dict"], path)
    users, unseen_users = _described(directory.users_file, "users", vocabularies["users"])
    items, unseen_items = _described(directory.items_file, "items", vocabularies["items"])
    return TrainedRun(
        directory=directory,
        checkpoint=path,
        config=config,
        model=model.eval().requires_grad_(False),
        user_vocabulary=vocabularies["users"],
        item_vocabulary=vocabularies["items"],
        rating_range=(low, high),
        users=users,
        items=items,
        unseen_users=unseen_users,
        unseen_items=unseen_items,
    )


def _model_config(config: dict[str, Any], directory: RunDirectory) -> Model:
    try:
        model: Model = TypeAdapter(Model).validate_python(config.get("model"))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(["model", *(str(step) for step in problem["loc"][1:])])
        raise ConfigError(
            f"{directory.config_file}: not a model that this version knows: {key}: {problem['msg']}"
        ) from None
    return model


def _checkpoint(directory: RunDirectory, asked: str | None) -> Path:
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


def _take_weights(model: RatingModel, state: dict[str, Any], path: Path) -> None:
    own: dict[str, Tensor] = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in state.items()
        if name.startswith(MODEL_PREFIX)
    }
    try:
        with torch.no_grad():
            model.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not of the model in config.yaml: {error}") from error


def _described(path: Path, side: Side, vocabulary: Vocabulary) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of the vocabulary in its order, and the other rows."""
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
    if not frame[column][:known].equals(vocabulary.ids, check_dtypes=True):
        raise CheckpointError(f"{path}: its {side} are not those of the checkpoint")
    return frame[:known], frame[known:]
