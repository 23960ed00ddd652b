"""What a trained model is used for: predictions and recommendations."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch

from lightning_collab.errors import ConfigError
from lightning_collab.inference import recommendation
from lightning_collab.inference.fold_in import TrainedUsers, error_variance
from lightning_collab.inference.lookup import RawIds
from lightning_collab.inference.prediction import predict
from lightning_collab.inference.recommendation import Recipient, Seen
from lightning_collab.training.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class TrainedRun(TrainedModel):
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
            features of the source, `ratings` and `mean_rating` of the training part.
        items: the same for items: `item`, features, `ratings` and `mean_rating`.
        unseen_users: users without training ratings, which the model does not know.
        unseen_items: items without training ratings, which the model does not know.
    """

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
        return predict(self, users, items, timestamps)

    def recommend(
        self,
        user: Any = None,
        *,
        ratings: Mapping[Any, float] | None = None,
        top_k: int = 10,
        seen: Seen = "all",
    ) -> pl.DataFrame:
        """The items with the highest predictions for a user, or for somebody new.

        Args:
            user: raw id of a user that the model was trained on.
            ratings: in its place, raw item id -> rating of a fold-in user.
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
        if (user is None) == (ratings is None):
            raise ConfigError("give one of user and ratings")
        if ratings is None:
            return recommendation.recommend_to_user(self, user, top_k, seen)
        items, given = recommendation.rated_items(self, ratings)
        rows = self.trained_users.rows_of_user(
            self.item_scores,
            torch.from_numpy(items).long(),
            torch.from_numpy(given),
            self.error_variance,
        )
        somebody = Recipient(self.item_scores.of_rows(rows), items, given, left_out=items)
        return recommendation.best_of_scores(self, somebody, top_k)

    def recommend_all(self, *, top_k: int = 10, seen: Seen = "all") -> pl.DataFrame:
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
        return pl.concat(recommendation.all_recommendations(self, top_k, seen))

    @cached_property
    def trained_users(self) -> TrainedUsers:
        """What is expected of a user before any rating is known."""
        return TrainedUsers.of(self.item_scores)

    @cached_property
    def error_variance(self) -> float:
        """Mean squared error on ratings that the model was not trained on, in squared units."""
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
    return TrainedRun.load(run, checkpoint)
