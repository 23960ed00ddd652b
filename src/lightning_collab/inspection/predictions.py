"""Where a model errs: its predictions beside what people gave."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import InspectionError
from lightning_collab.metrics.ratings import INTERVALS
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.trained_model import TrainedModel

# Numbers of training ratings at which a new class begins.
COUNT_EDGES = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
CALIBRATION_BINS = 20


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one part of the ratings.

    Attributes:
        part: `val` or `test`.
        actual: float32 [n], in rating units.
        predicted: float32 [n], in rating units, clamped to the scale.
        user_ratings: int64 [n], training ratings of the user; 0: unknown to the model.
        item_ratings: int64 [n], training ratings of the item; 0: unknown to the model.
        deviations: float32 [n], how far the model expects ratings to be from its predictions; None
            where it does not say.
    """

    part: str
    actual: NDArray[np.float32]
    predicted: NDArray[np.float32]
    user_ratings: NDArray[np.int64]
    item_ratings: NDArray[np.int64]
    deviations: NDArray[np.float32] | None = None

    @property
    def errors(self) -> NDArray[np.float64]:
        """Predicted minus actual."""
        return self.predicted.astype(np.float64) - self.actual

    def by_ratings_of(self, side: str) -> pl.DataFrame:
        """Errors by the number of training ratings of the user or item.

        Args:
            side: `user` or `item`.

        Returns:
            For each class that occurs: `training ratings` (its range), `rows`, `rmse`, `mae`.
        """
        counts = self.user_ratings if side == "user" else self.item_ratings
        classes = np.searchsorted(COUNT_EDGES, counts, side="right")
        frame = pl.DataFrame({"class": classes, "error": self.errors})
        error = pl.col("error")
        grouped = frame.group_by("class").agg(
            rows=pl.len(), rmse=error.pow(2).mean().sqrt(), mae=error.abs().mean()
        )
        names = pl.Series("training ratings", [class_name(c) for c in range(len(COUNT_EDGES) + 1)])
        ordered = grouped.sort("class")
        return ordered.select(names[ordered["class"]], "rows", "rmse", "mae")

    def calibration(self, bins: int = CALIBRATION_BINS) -> pl.DataFrame:
        """Mean actual rating of predictions that are alike; ideally the same.

        Args:
            bins: classes of about as many predictions each.

        Returns:
            Sorted: `predicted` (mean), `actual` (mean), `standard error` (of `actual`), `rows`.
        """
        order = np.argsort(self.predicted, kind="stable")
        classes = np.empty(len(order), dtype=np.int64)
        classes[order] = np.arange(len(order)) * bins // max(1, len(order))
        frame = pl.DataFrame({"class": classes, "predicted": self.predicted, "actual": self.actual})
        grouped = frame.group_by("class").agg(
            predicted=pl.col("predicted").cast(pl.Float64).mean(),
            actual=pl.col("actual").cast(pl.Float64).mean(),
            error=(pl.col("actual").cast(pl.Float64).std() / pl.len().sqrt()).fill_null(0.0),
            rows=pl.len(),
        )
        return grouped.sort("class").drop("class").rename({"error": "standard error"})

    def coverage(self) -> pl.DataFrame:
        """How often ratings lie where the model says that they are likely to lie.

        Returns:
            For each interval: `interval`, `expected` and `actual` share of ratings within it, and
            its `mean width` in rating units; no rows where the model does not say.
        """
        deviations = np.zeros(0) if self.deviations is None else self.deviations
        distances = np.abs(self.errors)[: len(deviations)]
        rows = [
            {
                "interval": f"{percent}%",
                "expected": percent / 100,
                "actual": float((distances <= width * deviations).mean()),
                "mean width": float(2 * width * deviations.mean()),
            }
            for percent, width in INTERVALS.items()
            if len(deviations)
        ]
        return pl.DataFrame(rows)

    def by_rating(self) -> pl.DataFrame:
        """Residuals (predicted minus actual) of each rating.

        Returns:
            For each rating that occurs: `rating`, `rows`, `mean residual`, `rmse`.
        """
        frame = pl.DataFrame({"rating": self.actual, "error": self.errors})
        error = pl.col("error")
        grouped = frame.group_by("rating").agg(
            rows=pl.len(), mean=error.mean(), rmse=error.pow(2).mean().sqrt()
        )
        return grouped.sort("rating").rename({"mean": "mean residual"})


def predict_part(run: TrainedModel, data: RatingDataModule) -> Predictions | None:
    """Predict the validation part, or the test part where there is none.

    Args:
        run: a trained run.
        data: the ratings that it was trained on, split in the same way.

    Returns:
        None where the run has neither part, or learned to rank and predicts no ratings.

    Raises:
        InspectionError: the ratings are not those of the run.
    """
    same_data(run, data)
    if run.ranks:
        return None
    part = "val" if len(data.rows.val) else "test"
    rows = data.rows.val if part == "val" else data.rows.test
    with data.numbered_by({"users": run.user_vocabulary, "items": run.item_vocabulary}):
        batches = data.whole_batches(rows)
    if not batches.rows:
        return None
    with torch.inference_mode():
        both = [run.model.predict_with_deviation(batch) for batch in batches]
    predicted = torch.cat([ratings.float() for ratings, _ in both])
    deviations = [deviation.float() for _, deviation in both if deviation is not None]
    return Predictions(
        part=part,
        actual=batches.ratings.numpy(),
        predicted=predicted.clamp(*run.rating_range).numpy(),
        user_ratings=_counts(run.users)[batches.users.numpy()],
        item_ratings=_counts(run.items)[batches.items.numpy()],
        deviations=torch.cat(deviations).numpy() if deviations else None,
    )


def same_data(run: TrainedModel, data: RatingDataModule) -> None:
    """Refuse ratings that are not those of a run.

    Args:
        run: a trained run.
        data: ratings.

    Raises:
        InspectionError: they have other users or items in the training part.
    """
    ours = data.user_vocabulary, data.item_vocabulary
    theirs = run.user_vocabulary.without_cold(), run.item_vocabulary.without_cold()
    if ours != theirs:
        raise InspectionError(
            f"{run.directory.path}: the ratings found now are not those that the run was trained "
            "on (other users or items in the training part)"
        )


def reload_data(run: RunDirectory) -> RatingDataModule:
    """The ratings of a run again, from where its config says that they are.

    Args:
        run: the run directory.

    Raises:
        DataError: they cannot be found any more.
    """
    return load_data(run.read_config())


def _counts(known: pl.DataFrame) -> NDArray[np.int64]:
    """Training ratings by row of the model; 0 for the unknown row."""
    return np.concatenate([[0], known["ratings"].to_numpy()])


def class_name(number: int) -> str:
    """The range of a class of counts."""
    if number == 0:
        return "none"
    low = COUNT_EDGES[number - 1]
    if number == len(COUNT_EDGES):
        return f"{low:,} or more"
    high = COUNT_EDGES[number] - 1
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
