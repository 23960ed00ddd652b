"""Where a model errs, whom it serves well, and which items it finds: beside what people gave."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_collab.config.model import MetricsConfig
from lightning_collab.config.section import checked
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


# Users whose lists are shown, from those who chose least to those who chose most.
EXAMPLES = 10
# Of an example, items that the user had and items that are shown.
NAMED = 5


@dataclass(frozen=True, eq=False)
class RankedUsers:
    """How well what users liked of one part is found among the first k.

    Attributes:
        part: `val` or `test`.
        k: how many items each user is shown.
        user_ratings: int64 [U], training ratings of each user.
        ndcg: float64 [U], of each user.
        item_ratings: int64 [n], training ratings of each liked item; 0: unknown to the model.
        found: bool [n], whether it is among the first k of its user.
        examples: `user`, `had` (what the user chose in training) and `shown`, with * before what
            the user liked of this part.
    """

    part: str
    k: int
    user_ratings: NDArray[np.int64]
    ndcg: NDArray[np.float64]
    item_ratings: NDArray[np.int64]
    found: NDArray[np.bool_]
    examples: pl.DataFrame

    def by_activity(self) -> pl.DataFrame:
        """For each class of users by training ratings: its range, `rows` and the mean `value`."""
        return _by_class(self.user_ratings, self.ndcg)

    def by_popularity(self) -> pl.DataFrame:
        """For each class of items by training ratings: its range, `rows` and the share found."""
        return _by_class(self.item_ratings, self.found)


def rank_users_of(run: TrainedModel, data: RatingDataModule) -> RankedUsers | None:
    """Rank the test part by user, or the validation part where there is none.

    Args:
        run: a trained run that learned to rank.
        data: the ratings that it was trained on, split in the same way.

    Returns:
        None where the run has neither part.

    Raises:
        InspectionError: the ratings are not those of the run.
    """
    # numba takes a while to import.
    from lightning_collab.models.scoring_kernels import best_unseen

    same_data(run, data)
    part = "test" if len(data.rows.test) else "val"
    if not len(getattr(data.rows, part)):
        return None
    settings = checked(MetricsConfig, run.config.get("metrics") or {})
    liked = settings.liked_beside(_positives(run))
    k = min(settings.top_k[0], run.item_vocabulary.warm)
    counts = [
        np.concatenate([[0], each["ratings"].to_numpy()]).astype(np.int64)
        for each in (run.users, run.items)
    ]
    gains = 1 / np.log2(np.arange(2, k + 2))
    most = np.concatenate([[0.0], np.cumsum(gains)])
    users, ndcg, items, found, shown = [], [], [], [], []
    for batch in data.ranking_batches(part, liked, whole=True):
        # As it was measured: among the items that it was trained on.
        known = run.item_scores.of_users(batch.users)[:, : run.item_vocabulary.warm]
        scores = known.float().contiguous().numpy()
        columns, _ = best_unseen(scores, batch.seen_starts.numpy(), batch.seen.numpy(), k)
        wanted, starts = batch.liked.numpy(), batch.liked_starts.numpy()
        for n, user in enumerate(batch.users.tolist()):
            own = wanted[starts[n] : starts[n + 1]]
            hits = np.isin(columns[n] + 1, own) & (columns[n] >= 0)
            ndcg.append(float(hits @ gains / most[min(len(own), k)]))
            users.append(user)
            items.append(own)
            found.append(np.isin(own, columns[n][columns[n] >= 0] + 1))
            shown.append((columns[n] + 1, hits))
    chosen = np.argsort(counts[0][users], kind="stable")
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(EXAMPLES, len(chosen))).astype(int)]
    had = data.chosen(data.rows.train, _positives(run) or "all")
    return RankedUsers(
        part=part,
        k=k,
        user_ratings=counts[0][users],
        ndcg=np.array(ndcg),
        item_ratings=counts[1][np.concatenate(items)],
        found=np.concatenate(found),
        examples=pl.DataFrame(
            [
                {
                    "user": str(run.user_vocabulary.ids[users[n] - 1]),
                    "had": _names(run, had.of_user(users[n])[:NAMED]),
                    "shown": _names(run, *(each[:NAMED] for each in shown[n])),
                }
                for n in chosen
            ]
        ),
    )


def _positives(run: TrainedModel) -> Any:
    of_loss = (run.config.get("loss") or {}).get("positives", "all")
    return run.config["model"].get("positives", of_loss)


def _names(
    run: TrainedModel, rows: NDArray[Any], hits: NDArray[np.bool_] | None = None
) -> list[str]:
    """Titles, or ids where there are none; those that were hit have a star."""
    known = rows[rows > 0]
    column = "title" if "title" in run.items.columns else "item"
    names = [str(name) for name in run.items[column].gather(known - 1).to_list()]
    if hits is None:
        return names
    return [f"{'* ' if hit else ''}{name}" for name, hit in zip(names, hits, strict=False)]


def _by_class(counts: NDArray[np.int64], values: NDArray[Any]) -> pl.DataFrame:
    classes = np.searchsorted(COUNT_EDGES, counts, side="right")
    frame = pl.DataFrame({"class": classes, "value": values.astype(np.float64)})
    grouped = frame.group_by("class").agg(rows=pl.len(), value=pl.col("value").mean())
    names = pl.Series("training ratings", [class_name(c) for c in range(len(COUNT_EDGES) + 1)])
    ordered = grouped.sort("class")
    return ordered.select(names[ordered["class"]], "rows", "value")
