"""A trained model with all that belongs to it, from its run directory alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from lightning_collab.data.metadata import ID_COLUMN, Side
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import ConfigError
from lightning_collab.models import RatingFacts, RatingModel, build_model
from lightning_collab.models.feature_rows import saved_features
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.trained_model import (
    checkpoint_of_run,
    described,
    model_config,
    read_trained,
    take_weights,
)

if TYPE_CHECKING:
    from lightning_collab.data.history import History
    from lightning_collab.inference.fold_in import TrainedUsers
    from lightning_collab.inference.lookup import RawIds
    from lightning_collab.models.item_scores import ItemScores

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

    def predict(
        self, users: RawIds, items: RawIds, timestamps: pl.Series | None = None
    ) -> pl.DataFrame:
        """Predicted ratings of pairs of a user and an item.

        Args:
            users: n raw ids.
            items: n raw ids.
            timestamps: n times in seconds since 1970 (UTC), which only models with effects of time
                look at; None, and null in it: the time is not known.

        Returns:
            n rows: `prediction` (Float32, in rating units, clamped to the scale),
            `standard_deviation` (Float32, of a rating about the prediction; only of models that
            know it), `known_user` and `known_item`: whether the model was trained on any rating
            of them. A prediction for an unknown id is that for a typical user or item.

        Raises:
            ValueError: the columns are not of one length.

        Example:
            >>> trained.predict([196, 186], [242, 302])  # doctest: +SKIP
        """
        from lightning_collab.inference.prediction import predict

        return predict(self, users, items, timestamps)

    def recommend(
        self,
        user: Any = None,
        *,
        ratings: Mapping[Any, float] | None = None,
        top_k: int = 10,
        seen: Literal["all", "train", "none"] = "all",
    ) -> pl.DataFrame:
        """The items with the highest predictions for a user, or for somebody new.

        Args:
            user: raw id of a user that the model was trained on.
            ratings: in its place, raw item id -> rating of a new person.
            top_k: how many.
            seen: which of the user's rated items to leave out: `all` that the data of the run has,
                those of the training part, or none.

        Returns:
            At most `top_k` rows, best first: `item`, `title` and `genres` where the data has them,
            `prediction` (Float32, clamped), `because_of` (at most three rated items that are
            nearest by cosine of their embeddings, among those rated at least as high as the
            person's mean: `item`, `title`, `rating`, `similarity`) and `ratings` (number of
            training ratings).

        Raises:
            ConfigError: `top_k` or a rating is out of range, or not one of `user` and `ratings` is
                given.
            NotFoundError: the run does not know the user or a rated item.
            CheckpointError: the run does not know what its users have rated.

        Example:
            >>> trained.recommend(user=196, top_k=5)  # doctest: +SKIP
            >>> trained.recommend(ratings={1: 5, 50: 4})  # doctest: +SKIP
        """
        from lightning_collab.inference.recommendation import recommend_to_person, recommend_to_user

        if (user is None) == (ratings is None):
            raise ConfigError("say one of user and ratings")
        if ratings is None:
            return recommend_to_user(self, user, top_k, seen)
        return recommend_to_person(self, ratings, top_k)

    def recommend_all(
        self, *, top_k: int = 10, seen: Literal["all", "train", "none"] = "all"
    ) -> pl.DataFrame:
        """The items with the highest predictions for every user that the model knows.

        Args:
            top_k: how many for each; fewer where a user has seen nearly everything.
            seen: as for `recommend`.

        Returns:
            `user`, `rank` (from 1), `item`, `title` where there are titles, `prediction`; in the
            order of the users, best item first.

        Raises:
            ConfigError: `top_k` is out of range.
            CheckpointError: the run does not know what its users have rated.
        """
        from lightning_collab.inference.recommendation import all_recommendations

        return pl.concat(all_recommendations(self, top_k, seen))

    @cached_property
    def item_scores(self) -> ItemScores:
        """Scores of all items, for some users at a time."""
        from lightning_collab.models.item_scores import item_scores

        return item_scores(self.model)

    @cached_property
    def history(self) -> History:
        """What each user has rated.

        Raises:
            CheckpointError: the run was made by a version that did not keep it.
        """
        from lightning_collab.data.history import History

        rows = len(self.user_vocabulary), len(self.item_vocabulary)
        return History.read(self.directory.history_file, *rows)

    @cached_property
    def trained_users(self) -> TrainedUsers:
        """What is expected of a user before any rating is known."""
        from lightning_collab.inference.fold_in import TrainedUsers

        return TrainedUsers.of(self.item_scores)

    @cached_property
    def error_variance(self) -> float:
        """Mean squared error on ratings that the model was not trained on, in squared units."""
        from lightning_collab.inference.fold_in import error_variance

        return error_variance(self)


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
    path = checkpoint_of_run(directory, checkpoint)
    content = read_trained(path)
    vocabularies: dict[Side, Vocabulary] = {
        side: Vocabulary.from_state(content["vocabularies"][side]) for side in ID_COLUMN
    }
    low, high = content["rating_range"]
    state = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in content["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    features = saved_features(state)
    facts = RatingFacts(
        user_rows=len(vocabularies["users"]),
        item_rows=len(vocabularies["items"]),
        rating_range=(low, high),
        mean_rating=0.0,  # a buffer of the model, so the checkpoint has the real one
        user_features=features.users,
        item_features=features.items,
        time_effects=features.time,
    )
    model = build_model(model_config(config, directory), facts)
    take_weights(model, state, path)
    users, unseen_users = described(directory.users_file, "users", vocabularies["users"])
    items, unseen_items = described(directory.items_file, "items", vocabularies["items"])
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
