"""A trained run to ask: for predictions, recommendations and what is alike."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_collab.api.shown_run import ShownRun
from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import ConfigError
from lightning_collab.inference import recommendation
from lightning_collab.inference.fold_in import TrainedUsers, error_variance
from lightning_collab.inference.fold_in_ranking import ImplicitUsers, RankingUsers, is_chosen
from lightning_collab.inference.lookup import (
    RawIds,
    ids_in,
    is_id,
    one_of,
    row_of_id,
    row_of_item,
    whole,
)
from lightning_collab.inference.prediction import predict
from lightning_collab.inference.recommendation import SEEN, Recipient, Seen
from lightning_collab.inference.stock import NewItems, Stock, offered
from lightning_collab.models.ease import Ease
from lightning_collab.models.factors import ImplicitFactors
from lightning_collab.models.item_scores import UserRows

if TYPE_CHECKING:
    # What predictions and recommendations do without.
    from lightning_collab.inspection.neighbors import Measure


@dataclass(frozen=True, eq=False, repr=False)
class AskedRun(ShownRun):
    """A trained model to ask; each `TrainedRun` is one."""

    def predict(
        self, users: RawIds, items: RawIds, timestamps: pl.Series | None = None
    ) -> pl.DataFrame:
        """Predicted ratings of pairs of a user and an item.

        Args:
            users: n raw ids, or one for all items, alone or in a list.
            items: n raw ids, or one for all users, likewise.
            timestamps: n times in seconds since 1970 (UTC), which only models with effects of time
                look at; None, and null in it: the time is not known.

        Returns:
            n rows: `prediction` (Float32, in rating units, clamped to the scale; of a run that
            learned to rank `score`, raw),
            `standard_deviation` (Float32, of a rating about the prediction; only of models that
            know it), `known_user` and `known_item`: whether the model was trained on any rating
            of them. A prediction for an unknown id is that for a typical user or item.

        Raises:
            ConfigError: users or items are no ids.
            ValueError: the columns are not of one length, and neither has a single id.

        Example:
            >>> run.predict([100, 101], [7, 8]).columns
            ['prediction', 'known_user', 'known_item']
        """
        return predict(self, users, items, timestamps)

    def recommend(
        self,
        user: Any = None,
        *,
        ratings: Mapping[Any, float] | None = None,
        items: Collection[Any] | None = None,
        top_k: int = 10,
        seen: Seen = "all",
        only: Stock | None = None,
        exclude: Stock | None = None,
        min_ratings: int = 0,
        new_items: NewItems = 0,
    ) -> pl.DataFrame:
        """The items with the highest predictions for a user, or for somebody new.

        Args:
            user: raw id of a user that the model was trained on; or a list, array or column of
                them, each of whom is answered once.
            ratings: in its place, raw item id or title -> rating of a fold-in user; of a run that
                learned to rank, those as high as its `positives` are what the user chose.
            items: in its place, raw ids or titles of what a fold-in user chose; of a run that
                ranks.
            top_k: how many.
            seen: which of the user's rated items to leave out: `all` that the data of the run has,
                those of the training part, or none.
            only: raw ids of items that may be recommended (what is in stock), or a CSV or Parquet
                file with a column of them, or a text file of ids alone, one a line; None: all.
            exclude: likewise of items that may not.
            min_ratings: training ratings that a recommended item must have, unless it is new.
            new_items: how many of the `top_k` may be items without training ratings, which the run
                knows by their features; `only`: all of them.

        Returns:
            At most `top_k` rows, best first: `item`, `title` and `genres` where the data has them,
            `prediction` (Float32, clamped; `score`, raw, of a run that learned to rank),
            `because_of` (at most three rated items that are
            nearest by cosine of their embeddings, among those that the person liked, which are
            those rated at least as high as the person's mean, or 4 on a scale of 1 to 5: `item`,
            `title`, `rating`, `similarity`) and `ratings` (number of training ratings). For several
            users so many for each, in their order, with `user` and `rank` (from 1) in front.

        Raises:
            ConfigError: an argument is of another kind or out of range, not one of `user`,
                `ratings` and `items` is given, or no item is left.
            DataError: a file of `only` or `exclude` cannot be read.
            NotFoundError: the run does not know a user or a rated item.
            CheckpointError: the run does not know what its users have rated.

        Example:
            >>> run.recommend(user=100, top_k=3).columns
            ['item', 'prediction', 'because_of', 'ratings']
            >>> run.recommend(user=[100, 101], top_k=3)["user"].to_list()
            [100, 100, 100, 101, 101, 101]
            >>> run.recommend(ratings={7: 5, 8: 1}, top_k=3)["item"].is_in([7, 8]).any()
            False
        """
        if sum(each is not None for each in (user, ratings, items)) != 1:
            raise ConfigError(
                "give one of user, ratings and items: recommend(user=196), of several users "
                "user=[196, 186]; of somebody new ratings={1: 5, 50: 4}"
            )
        one_of("seen", seen, SEEN)
        offer = offered(
            self, top_k, only=only, exclude=exclude, min_ratings=min_ratings, new_items=new_items
        )
        if is_id(user):
            return recommendation.recommend_to_user(self, user, top_k, seen, offer)
        if user is not None:
            users = ids_in("user", user)
            return recommendation.recommend_to_users(self, users, top_k, seen, offer)
        if items is not None:
            rated = recommendation.chosen_items(self, items)
            given = np.full(len(rated), np.nan, dtype=np.float32)
            rows = self.ranking_users.rows_of_user(self.item_scores, rated, rated[:0])
        else:
            rated, given = recommendation.rated_items(self, {} if ratings is None else ratings)
            rows = self._rows_of_ratings(rated, given)
        somebody = Recipient(self.item_scores.of_rows(rows), rated, given, left_out=rated)
        return recommendation.best_of_scores(self, somebody, top_k, offer)

    def _rows_of_ratings(self, items: NDArray[np.int32], ratings: NDArray[np.float32]) -> UserRows:
        """The table rows of a fold-in user with some ratings."""
        if not self.ranks:
            return self.trained_users.rows_of_user(
                self.item_scores,
                torch.from_numpy(items).long(),
                torch.from_numpy(ratings),
                self.error_variance,
            )
        users = self.ranking_users
        chosen = is_chosen(users.positives, ratings)
        if not chosen.any():
            raise ConfigError(
                f"ratings: none of them is as high as the run's positives ({users.positives:g}), "
                "so that nothing is known of what the user likes; add an item that the user liked"
            )
        return users.rows_of_user(self.item_scores, items[chosen], items[~chosen])

    def recommend_all(
        self,
        *,
        top_k: int = 10,
        seen: Seen = "all",
        only: Stock | None = None,
        exclude: Stock | None = None,
        min_ratings: int = 0,
        new_items: NewItems = 0,
    ) -> pl.DataFrame:
        """The items with the highest predictions for every user that the model knows.

        Args:
            top_k: how many for each; fewer where a user has seen nearly everything.
            seen: as for `recommend`, as are the next three.
            only: see there.
            exclude: see there.
            min_ratings: see there.
            new_items: see there.

        Returns:
            `user`, `rank` (from 1), `item`, `title` where there are titles, `prediction` or
            `score`; in the order of the users, best item first.

        Raises:
            ConfigError: `top_k` is out of range.
            CheckpointError: the run does not know what its users have rated.

        Example:
            >>> run.recommend_all(top_k=3).columns
            ['user', 'rank', 'item', 'prediction']
        """
        one_of("seen", seen, SEEN)
        offer = offered(
            self, top_k, only=only, exclude=exclude, min_ratings=min_ratings, new_items=new_items
        )
        return pl.concat(recommendation.all_recommendations(self, top_k, seen, offer))

    def similar(
        self,
        *,
        item: Any = None,
        user: Any = None,
        top_k: int = 10,
        measure: "Measure" = "cosine",
        min_ratings: int = 20,
    ) -> pl.DataFrame:
        """The items nearest to an item, or the users nearest to a user, by their embeddings.

        Args:
            item: raw id, or the title where no item has such an id.
            user: raw id, in its place.
            top_k: how many.
            measure: `cosine`: the angle between embeddings; `dot`: longer embeddings weigh more.
            min_ratings: training ratings that a neighbor must have; of others a model knows
                little.

        Returns:
            At most `top_k` rows, nearest first: what is known of each, and `similarity` (Float32).

        Raises:
            ConfigError: not one of `item` and `user` is given, or another argument is of another
                kind or out of range.
            NotFoundError: the run does not know the id.
            InspectionError: the model has no embeddings of that side, or nobody has enough ratings.

        Example:
            >>> run.similar(item=7, top_k=3, min_ratings=5)["similarity"].len()
            3
        """
        from lightning_collab.inspection.neighbors import similar

        if (item is None) == (user is None):
            raise ConfigError("give one of item and user")
        whole("top_k", top_k, least=1)
        whole("min_ratings", min_ratings, least=0)
        one_of("measure", measure, ("cosine", "dot"))
        side: Side = "users" if item is None else "items"
        row = row_of_id(self, side, user) if item is None else row_of_item(self, item)
        return similar(self, side, row, top_k=top_k, measure=measure, min_ratings=min_ratings)

    @cached_property
    def trained_users(self) -> TrainedUsers:
        """What is expected of a user before any rating is known."""
        grown = self.model.keeps_unknown_rows
        return TrainedUsers.of(self.item_scores, self.user_vocabulary.warm if grown else None)

    @cached_property
    def ranking_users(self) -> RankingUsers | ImplicitUsers:
        """How a user is found from what the user chose, of a run that learned to rank."""
        if isinstance(self.model, ImplicitFactors | Ease):
            return ImplicitUsers(self.model, self.item_vocabulary.warm)
        return RankingUsers.of(self)

    @cached_property
    def error_variance(self) -> float:
        """Mean squared error on ratings that the model was not trained on, in squared units."""
        return error_variance(self)
