"""A trained run on made-up films with titles and genres, for inference and inspection."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.inspection.while_training import LogEmbeddings, inspect_run
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

NASTY = "</script><script>document.title='broken'</script> & <b>bold</b> (1999)"
TITLES = {
    10: "Godfather, The (1972)",
    11: "Star Wars (1977)",
    12: "Star Trek (1979)",
    13: NASTY,
    14: "A\ttab (1980)",
    15: "Twice (1997)",
    16: "Twice (1997)",
    17: "Heat (1986)",
    18: "Heat (1995)",
}
NEVER_RATED = 99
USERS, ITEMS = 60, 45
GENRES = ("Drama", "Comedy", "Horror")


def film_table() -> RatingTable:
    """60 users of 45 films in three genres; a user likes one genre and dislikes the others."""
    random = np.random.default_rng(1)
    users, items = np.divmod(random.permutation(USERS * ITEMS), ITEMS)
    liked = users % 3 == items % 3
    ratings = np.where(liked, 4.5, 2.0) + 0.7 * random.normal(size=len(users))
    keep = random.random(len(users)) < 0.8
    frame = pl.DataFrame(
        {
            "user": (users + 500)[keep],
            "item": (items + 10)[keep],
            "rating": ratings.clip(1, 5).round()[keep],
            "timestamp": np.full(keep.sum(), 10**9),
        }
    )
    ids = [*range(10, 10 + ITEMS), NEVER_RATED]
    films = pl.DataFrame(
        {
            "item": ids,
            "title": [TITLES.get(i, f"Film {i} ({1900 + i})") for i in ids],
            "year": pl.Series([1900 + i for i in ids], dtype=pl.Int32),
            "genres": [
                [GENRES[(i - 10) % 3], "Long"] if i % 2 else [GENRES[(i - 10) % 3]] for i in ids
            ],
        }
    )
    people = pl.DataFrame(
        {
            "user": range(500, 500 + USERS),
            "age": pl.Series(range(20, 20 + USERS), dtype=pl.Int32),
            "occupation": ["writer" if u % 2 else "other" for u in range(USERS)],
        }
    )
    return RatingTable.of_checked(
        frame, name="films", rating_range=(1.0, 5.0), user_features=people, item_features=films
    )


@dataclass(frozen=True)
class FilmRun:
    """A run that was trained, and what it was trained on."""

    directory: RunDirectory
    config: RunConfig
    data: RatingDataModule
    metrics: dict


def train_films(config: RunConfig, path: Path, *, resume: bool = False, further=()) -> FilmRun:
    """Train and inspect, as scripts/train.py does with a source of its own."""
    directory = RunDirectory(path)
    path.mkdir(parents=True, exist_ok=True)
    data = load_data(config, film_table())
    callbacks = [*further]
    if config.callbacks.projector is not None:
        callbacks.append(LogEmbeddings(config))
    metrics = train(config, directory, resume=resume, callbacks=callbacks, data=data)
    metrics = inspect_run(config, directory, data, metrics)
    return FilmRun(directory, config, data, metrics)


QUICK = (
    "callbacks.progress_bar=false",
    "trainer.max_epochs=7",
    "data.batch_size=64",
    "model.factors=8",
    "optimizer.lr=0.02",
    "callbacks.report.map=pca",
)


@pytest.fixture(scope="session")
def film_run(run_config, tmp_path_factory) -> FilmRun:
    """One such run; tests must not change it."""
    return train_films(run_config(*QUICK), tmp_path_factory.mktemp("films") / "run")
