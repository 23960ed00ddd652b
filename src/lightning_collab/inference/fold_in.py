"""A user whom the model was not trained on, from a few ratings: one user vector is solved for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_collab.data.column_names import USUAL_NAMES, plain, usual_columns
from lightning_collab.data.files.tables import read_table
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import DataError, NotFoundError
from lightning_collab.inference.lookup import row_of_title, rows_of_ids
from lightning_collab.inference.prediction import predict
from lightning_collab.models.item_scores import ItemScores, UserRows
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

# Unknown items that a warning names.
NAMED = 5


def read_own_ratings(run: TrainedModel, path: Path) -> dict[Any, float]:
    """The ratings in a file of one user.

    Args:
        run: the trained run.
        path: text with a first line of names, JSON lines or Parquet: `rating`, and `item` (or
            `movieId` or so) or `title`, which is found as people type it.

    Returns:
        Raw item id -> rating. Items that the run does not know are left out, and that is said.

    Raises:
        DataError: the file is missing, empty or not readable, or has a rating that is not a number.
        NotFoundError: the run knows none of the items.
    """
    table = read_table(path, as_text=lambda names: names)
    if table.is_empty():
        raise DataError(f"{path}: no rows")
    ratings = table[_column(table, path, "rating")].cast(pl.Float64, strict=False)
    if ratings.null_count():
        first = int(ratings.is_null().arg_max() or 0)
        raise DataError(f"{path}, row {first + 1} below the names: the rating is not a number")
    name = _column(table, path, "item", "title")
    by_title = name.lower() == "title"
    found: dict[Any, float] = {}
    unknown = []
    for raw, rating in zip(table[name].to_list(), ratings.to_list(), strict=True):
        try:
            row = (
                row_of_title(run, str(raw))
                if by_title
                else int(rows_of_ids(run.item_vocabulary, [raw])[0])
            )
        except NotFoundError as error:
            log.warning("%s", error)
            row = UNKNOWN_ROW
        if row == UNKNOWN_ROW:
            unknown.append(str(raw))
        else:
            found[run.item_vocabulary.ids[row - 1]] = rating
    if not found:
        raise NotFoundError(
            f"{path}: the run knows none of the {len(table)} items in column {name!r}; its ids "
            f"are like {', '.join(map(str, run.item_vocabulary.ids.head(3).to_list()))}"
        )
    if unknown and not by_title:
        some = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        warning = "%s: %d of %d items are not known to the run and left out: %s"
        log.warning(warning, path, len(unknown), len(table), some)
    return found


def _column(table: pl.DataFrame, path: Path, ours: str, other: str | None = None) -> str:
    found = usual_columns(ours, table.columns)
    found += [name for name in table.columns if plain(name) == other]
    if found:
        return found[0]
    names = [*USUAL_NAMES[ours], *([] if other is None else [other])]
    raise DataError(
        f"{path}: no column named {' or '.join(names)}; it has "
        f"{', '.join(map(repr, table.columns))}"
    )


MAX_ITERATIONS = 200
TOLERANCE = 1e-6
# About how many ratings the error is measured on.
MEASURED_ON = 100_000
# Of a direction in which the trained users do not differ, as a share of the mean variance.
LEAST_VARIANCE = 1e-3


@dataclass(frozen=True, eq=False)
class TrainedUsers:
    """What is expected of a user of a trained model before any rating is known.

    The vectors x_u of the trained users (factors and bias, whatever the model has, features
    included) are taken as draws from N(mean, factor factor'). A fold-in user's x is the most likely
    one given this and ratings with an error of variance s^2, the mean being that of the unknown
    row, so that no ratings at all give what the model predicts for an unknown user:

        min_x sum_i (r_i - rating(x, q_i))^2 + s^2 (x - mean)' (factor factor')^-1 (x - mean)

    For a linear output this is ridge regression, for a sigmoid one a few quasi-Newton steps. The
    prior is made of the trained users and not of the optimizer's weight decay, which says little
    of somebody with few ratings: see docs/using-a-model.md for what either reaches.

    Attributes:
        groups: names of the model's tables.
        widths: of a row of each.
        mean: float64 [sum of widths].
        factor: float64 [sum of widths, sum of widths], lower triangular.
    """

    groups: tuple[str, ...]
    widths: tuple[int, ...]
    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, scores: ItemScores, count: int | None = None) -> TrainedUsers:
        """The mean and the covariance of a model's users.

        Args:
            scores: of the trained model.
            count: how many users it was trained on, where it knows others and its unknown row is
                not the mean of these; None: all, and it is.

        Raises:
            NotFoundError: the model has no factors of items, so nothing can be said about a user
                but what it says of everybody.
        """
        if "embeddings" not in scores.tables:
            raise NotFoundError(
                "this is a model without item factors: it cannot learn "
                "about a fold-in user from ratings; use a run of another model"
            )
        users = [table["users"].double() for table in scores.tables.values()]
        known = torch.cat([table[1:][:count] for table in users], dim=1)
        covariance = torch.cov(known.T).reshape(known.shape[1], known.shape[1])
        covariance.diagonal().add_(LEAST_VARIANCE * covariance.diagonal().mean() + 1e-12)
        return cls(
            tuple(scores.tables),
            tuple(table.shape[1] for table in users),
            torch.cat([table[0] for table in users]) if count is None else known.mean(0),
            torch.linalg.cholesky(covariance),
        )

    def rows_of_user(
        self, scores: ItemScores, items: Tensor, ratings: Tensor, error_variance: float
    ) -> UserRows:
        """The table rows of one user.

        Args:
            scores: of the trained model.
            items: int64 [n], rows of the model.
            ratings: float32 [n].
            error_variance: s^2, of what the model leaves unexplained, in squared rating units.
        """
        # x = mean + factor z, so that z has the unit matrix as its prior and is easily searched.
        z = torch.zeros(len(self.mean), requires_grad=True)
        mean, factor = self.mean.float(), self.factor.float()
        of_items = [scores.tables[group]["items"][items] for group in self.groups]

        def rows_of(z: Tensor) -> UserRows:
            parts = torch.split(mean + factor @ z, list(self.widths))
            return dict(zip(self.groups, (part[None] for part in parts), strict=True))

        optimizer = torch.optim.LBFGS(
            [z],
            max_iter=MAX_ITERATIONS,
            tolerance_grad=TOLERANCE,
            tolerance_change=TOLERANCE,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            own = rows_of(z)
            pairs = {
                group: (own[group].expand(len(items), -1), fixed)
                for group, fixed in zip(self.groups, of_items, strict=True)
            }
            errors = scores.rate_rows(pairs) - ratings
            loss = errors.square().sum() + error_variance * z.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with torch.enable_grad():
            optimizer.step(objective)  # type: ignore[no-untyped-call]
        return rows_of(z.detach())


def error_variance(run: TrainedModel) -> float:
    """The mean squared error of a run on ratings that it was not trained on.

    Args:
        run: the trained run.

    Returns:
        On the held-out ratings of known users and items; where there are none, on the training
        ratings, which is too little.

    Raises:
        CheckpointError: the run does not know what its users have rated.
    """
    history = run.history
    chosen = np.flatnonzero(history.held_out) if history.held_out.any() else np.arange(len(history))
    chosen = chosen[:: max(1, len(chosen) // MEASURED_ON)]
    users = np.searchsorted(history.starts, chosen, side="right") - 1
    ids = run.user_vocabulary.decode(users), run.item_vocabulary.decode(history.items[chosen])
    errors = predict(run, *ids)["prediction"].to_numpy() - history.ratings[chosen]
    return float(np.mean(errors**2))
