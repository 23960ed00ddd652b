"""A small frame of ratings, and settings with which a run on it takes a fraction of a second."""

import numpy as np
import polars as pl
import pytest

# No page, no projector and no line but warnings.
QUICK = {
    "trainer.max_epochs": 3,
    "data.batch_size": 64,
    "optimizer.lr": 0.05,
    "callbacks.report": None,
    "callbacks.projector": None,
    "callbacks.progress_bar": False,
}


def ratings_frame() -> pl.DataFrame:
    """400 ratings of 1 to 5 by 30 users of 20 items, from known factors."""
    random = np.random.default_rng(0)
    users, items = np.divmod(random.permutation(30 * 20)[:400], 20)
    ratings = 3 + random.normal(size=(30, 2)) @ random.normal(size=(2, 20))
    return pl.DataFrame(
        {
            "user": users + 100,
            "item": items + 7,
            "rating": ratings.clip(1, 5).round()[users, items],
            "time": 10**9 + np.arange(400),
        }
    )


@pytest.fixture
def frame(tmp_path, monkeypatch) -> pl.DataFrame:
    """The frame, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return ratings_frame()
