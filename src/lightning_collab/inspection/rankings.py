"""Whom a model serves well and which items it finds, and what some users are shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.metrics import MetricsConfig
from lightning_collab.config.section import checked
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.inspection.predictions import COUNT_EDGES, class_name, same_data
from lightning_collab.training.trained_model import TrainedModel

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
