"""How well somebody is predicted whom the model was not trained on, from their first ratings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.api.trained_run import TrainedRun, load
from lightning_collab.config.compose import composed_run
from lightning_collab.data.sources import ml_100k
from lightning_collab.data.sources.movielens import root_folder
from lightning_collab.inference.fold_in import TrainedUsers
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

# Share of the users whom the model is not trained on.
APART = 0.1
# Ratings that are told of each; the fewest that anybody has in MovieLens 100K is 20.
KNOWN = (1, 5, 10, 18)

# Rows of the model and ratings; row 0 where the model does not know the item.
Person = tuple[NDArray[np.int32], NDArray[np.float32]]


def new_person_errors(folder: Path) -> dict[str, float]:
    """Train on nine tenths of the users of MovieLens 100K, then meet the others.

    Args:
        folder: is made for the run.

    Returns:
        `new_person/rmse_of_typical_user`, of the unknown row on all of their ratings;
        `new_person/rmse_after_<k>`, on the other ratings when k are known, by the prior of the
        trained users; `new_person/rmse_after_<k>_by_weight_decay`, by that of the optimizer: each
        rating adds decay / 2 times the squared vector, as in training (decay=per_row).
    """
    folder.mkdir()
    table = ml_100k.load(root_folder(None))
    ratings = pl.DataFrame(
        {
            "user": table.user_vocabulary.decode(table.users),
            "item": table.item_vocabulary.decode(table.items),
            "rating": table.ratings,
        }
    )
    random = np.random.default_rng(0)
    ids = table.user_vocabulary.ids.to_numpy()
    apart = pl.Series(random.choice(ids, round(APART * len(ids)), replace=False))
    is_apart = pl.col("user").is_in(apart.implode())
    ratings.filter(~is_apart).write_csv(folder / "others.csv")
    config = composed_run(
        "data=csv",
        f"data.path={folder / 'others.csv'}",
        "data.cache=false",
        "callbacks.progress_bar=false",
        "logger=none",
    )
    directory = RunDirectory(folder / "run")
    directory.path.mkdir()
    train(config, directory, test=False)
    run = load(directory.path)
    persons = [
        (run.item_vocabulary.encode(person["item"]), person["rating"].to_numpy())
        for _, person in ratings.filter(is_apart).group_by("user", maintain_order=True)
    ]
    prior = run.trained_users
    widths = sum(prior.widths)
    shrunk = TrainedUsers(prior.groups, prior.widths, torch.zeros(widths), torch.eye(widths))
    decay = config.optimizer.weight_decay / 2
    measured = {"new_person/rmse_of_typical_user": _rmse(run, persons, 0, prior, lambda _: 1.0)}
    for known in KNOWN:
        name = f"new_person/rmse_after_{known}"
        measured[name] = _rmse(run, persons, known, prior, lambda _: run.error_variance)
        measured[f"{name}_by_weight_decay"] = _rmse(
            run, persons, known, shrunk, lambda count: count * decay
        )
    return measured


def _rmse(
    run: TrainedRun,
    persons: list[Person],
    known: int,
    prior: TrainedUsers,
    variance: Callable[[int], float],
) -> float:
    """On what is left of all persons' ratings when `known` of each are told."""
    random = np.random.default_rng(1)
    total, count = 0.0, 0
    for items, ratings in persons:
        order = random.permutation(len(items))
        told, left = order[:known], order[known:]
        told = told[items[told] > 0]
        rows = prior.rows_of_user(
            run.item_scores,
            torch.from_numpy(items[told]).long(),
            torch.from_numpy(ratings[told]),
            variance(len(told)),
        )
        errors = _rated(run, rows, items[left]) - torch.from_numpy(ratings[left])
        total += float(errors.square().sum())
        count += len(left)
    return float(np.sqrt(total / count))


def _rated(run: TrainedRun, rows: dict[str, Tensor], items: NDArray[np.int32]) -> Tensor:
    of_items = torch.from_numpy(items).long()
    pairs = {
        group: (own.expand(len(items), -1), run.item_scores.tables[group]["items"][of_items])
        for group, own in rows.items()
    }
    return run.model.rate_rows(pairs).clamp(*run.rating_range)
