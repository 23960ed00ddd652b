"""A trained model with all that belongs to it, read from its run directory alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import polars as pl
import torch

from lightning_collab.config.model import Model, ModelConfig
from lightning_collab.config.plugins import check_installed, made_with
from lightning_collab.config.registry import LOSSES
from lightning_collab.config.section import Section, checked
from lightning_collab.data.metadata import History
from lightning_collab.data.vocabulary import ID_COLUMN, Side, Vocabulary
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.models import DatasetStatistics, RatingModel, build_model
from lightning_collab.models.cold_rows import extended
from lightning_collab.models.feature_rows import features_from_buffers
from lightning_collab.models.item_scores import ItemScores
from lightning_collab.runs.checkpoints import checkpoint_of, read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import check_sum
from lightning_collab.runs.invocation import called_as
from lightning_collab.training.cold_file import read_cold_rows, vocabularies_with
from lightning_collab.training.process import random_numbers_put_back

# What Lightning puts before the names of the model's own parameters in a checkpoint.
MODEL_PREFIX = "model."
# What our checkpoints have beside Lightning's own.
NEEDED = ("vocabularies", "rating_range")


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model, the ids of its rows, and what is known of them.

    Attributes:
        directory: of the run.
        checkpoint: the file that the weights came from.
        config: of the run, as plain values; not checked, so that a run of an earlier version can be
            used as long as its model is known.
        model: on the CPU, in evaluation mode.
        user_vocabulary: raw user ids of the model's rows.
        item_vocabulary: raw item ids of the model's rows.
        rating_range: lowest and highest rating.
        users: one row for each known user, `users[k]` for row `k + 1` of the model: `user`, the
            features of the source, `ratings` and `mean_rating` of the training part; last those
            who have none and are known by features alone.
        items: the same for items: `item`, features, `ratings` and `mean_rating`.
        unseen_users: users of whom the model has neither training ratings nor features.
        unseen_items: items of which the model has neither training ratings nor features.
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

    @property
    def metrics(self) -> dict[str, Any]:
        """The final numbers of the run; none where it was stopped before its end."""
        return _metrics_of(self.directory)

    @cached_property
    def ranks(self) -> bool:
        """Whether the run learned to rank: what the model gives is a score, and no rating."""
        if self.model.config.ranks:
            return True
        # Of a run of an earlier version there is none; nor of a package that is not installed.
        name = (self.config.get("loss") or {}).get("name", "squared_error")
        return name in LOSSES and LOSSES[name].metrics == "rankings"

    @property
    def implicit(self) -> bool:
        """Whether it was trained on choices without ratings."""
        columns = (self.config.get("data") or {}).get("columns") or {}
        return "rating" in columns and columns["rating"] is None

    @property
    def rows_called(self) -> str:
        """What a row of its data is called: `ratings`, or `interactions` where it has none."""
        return "interactions" if self.implicit else "ratings"

    @cached_property
    def item_scores(self) -> ItemScores:
        """Scores of all items, for some users at a time; raw where the run learned to rank."""
        return self.model.ranking_scores() if self.ranks else self.model.item_scores()

    def shown(self, predictions: torch.Tensor) -> torch.Tensor:
        """What is shown of predictions, clamped to the scale where they are ratings.

        Args:
            predictions: float32 [n].
        """
        return predictions if self.ranks else predictions.clamp(*self.rating_range)

    @property
    def shown_as(self) -> str:
        """The name of their column: `prediction`, or `score` where the run learned to rank."""
        return "score" if self.ranks else "prediction"

    @cached_property
    def history(self) -> History:
        """What each user has rated.

        Raises:
            CheckpointError: the run was made by a version that did not keep it.
        """
        rows = len(self.user_vocabulary), len(self.item_vocabulary)
        return History.read(self.directory.history_file, *rows)

    @classmethod
    def load(cls, run: str | Path, checkpoint: str | None = None, *, cold: bool = True) -> Self:
        """Read a run directory; see `lightning_collab.load`.

        Args:
            run: the run directory.
            checkpoint: `best`, `last` or the path of a file; None: the best there is.
            cold: whether users and items are known of which there are only features.

        Raises:
            CheckpointError: not a run directory, no checkpoint in it, or one of another model.
            ConfigError: the run's model is of another version.
        """
        directory = RunDirectory(Path(run))
        config = directory.read_plain_config()
        path = checkpoint_of_run(directory, checkpoint)
        content = read_checkpoint(path)
        commit = _metrics_of(directory).get("git_commit")
        rebuilt = rebuilt_model(
            content, model_config(config, directory.config_file, commit=commit), path
        )
        rows = read_cold_rows(directory, content) if cold else {}
        model = extended(rebuilt.model, rows) if rows else rebuilt.model
        vocabularies = vocabularies_with(rows, rebuilt.vocabularies)
        users, unseen_users = described(directory.users_file, "users", vocabularies["users"])
        items, unseen_items = described(directory.items_file, "items", vocabularies["items"])
        return cls(
            directory=directory,
            checkpoint=path,
            config=config,
            model=model.eval().requires_grad_(False),
            user_vocabulary=vocabularies["users"],
            item_vocabulary=vocabularies["items"],
            rating_range=rebuilt.rating_range,
            users=users,
            items=items,
            unseen_users=unseen_users,
            unseen_items=unseen_items,
        )


class RebuiltModel(NamedTuple):
    """A model as a checkpoint has it.

    Attributes:
        model: with its weights, on the CPU.
        vocabularies: raw ids of its rows.
        rating_range: lowest and highest rating.
    """

    model: RatingModel
    vocabularies: dict[Side, Vocabulary]
    rating_range: tuple[float, float]


def rebuilt_model(content: Mapping[str, Any], config: ModelConfig, path: Path) -> RebuiltModel:
    """The model of a checkpoint, which alone has all that it is made of but its config.

    Args:
        content: of the checkpoint.
        config: of the model.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: it lacks what belongs to a model, or is of another one.
    """
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise CheckpointError(
            f"{path}: not a checkpoint of lightning-collab, or from a version before 0.1: it has "
            f"no {' and no '.join(missing)}. Train the model again"
        )
    vocabularies: dict[Side, Vocabulary] = {
        side: Vocabulary.from_state(content["vocabularies"][side]) for side in ID_COLUMN
    }
    low, high = content["rating_range"]
    state = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in content["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    statistics = DatasetStatistics(
        len(vocabularies["users"]),
        len(vocabularies["items"]),
        (low, high),
        0.0,  # the mean rating is a buffer of the model, so the checkpoint has the real one
        *features_from_buffers(state),
    )
    try:
        # What is drawn is not kept.
        with random_numbers_put_back(), torch.no_grad():
            model = build_model(config, statistics)
            model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: it does not match the model in its config: {error}"
        ) from error
    return RebuiltModel(model, vocabularies, (low, high))


def model_config(
    config: Mapping[str, Any], place: Path, *, commit: str | None = None
) -> ModelConfig:
    """The model's own part of a run's config; all else may be of any version.

    Args:
        config: of the run, as plain values.
        place: the file that it is in, for messages.
        commit: of the source that made the run, where that is known.

    Raises:
        ConfigError: the model is of another version, or of a package that is not installed.
    """
    check_installed(config, place, "model")
    try:
        return checked(_ModelOnly, {"model": config.get("model")}).model
    except ConfigError as error:
        problems = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        of_others = made_with(config, "model")
        if of_others is not None:
            raise ConfigError(f"{place}: {of_others}: {problems}") from None
        raise ConfigError(
            f"{place}: not a model that this version of lightning-collab "
            f"({version('lightning-collab')}) knows: {problems}. Use the one that made the run"
            f"{f' (commit {commit})' if commit else ''}, or train it again with this one"
        ) from None


class _ModelOnly(Section):
    """The only section of a run's config that its use needs."""

    model: Model


def _metrics_of(directory: RunDirectory) -> dict[str, Any]:
    """The final numbers of a run; none where it was stopped before its end."""
    try:
        return directory.read_metrics()
    except CheckpointError:
        return {}


def checkpoint_of_run(directory: RunDirectory, asked: str | None) -> Path:
    """The file that the user means: the best one, or the last where there is no best.

    Args:
        directory: of the run.
        asked: `best`, `last` or the path of a file; None: the best there is.

    Raises:
        CheckpointError: it does not exist.
    """
    if asked is not None:
        return checkpoint_of(directory, asked)
    for path in (directory.best_checkpoint, directory.last_checkpoint):
        if path.is_file():
            return path
    raise CheckpointError(
        f"{directory.path}: the run has no checkpoint (neither best.ckpt nor last.ckpt in "
        f"{directory.checkpoints}); it has not finished an epoch. To train it: "
        f"{called_as('train')}"
    )


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
    check_sum(path)
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: it does not exist; the run was made by a version that did not keep its "
            f"{side}. Train it again"
        ) from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise CheckpointError(f"{path}: not readable: {error}") from error
    warm = vocabulary.warm
    if column in frame.columns:
        others = frame[warm:]
        cold = others[column].is_in(vocabulary.ids[warm:].implode())
        known = pl.concat([frame[:warm], others.filter(cold).sort(column)])
        if known[column].equals(vocabulary.ids, check_dtypes=True):
            return known, others.filter(~cold)
    raise CheckpointError(f"{path}: its {side} are not those of the checkpoint")
