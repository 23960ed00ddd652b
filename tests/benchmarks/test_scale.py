import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from support import CONF

from benchmarks import scale
from benchmarks.config import ScaleConfig
from benchmarks.scale import Workload, columns, compared, run
from lightning_collab.tuning.sweep import register_resolvers


@pytest.fixture(autouse=True)
def few_users(monkeypatch):
    monkeypatch.setattr(scale, "USERS", 50)
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def test_small_and_large_ones_by_both_ways_of_stepping():
    sizes = ScaleConfig.model_construct(
        factors=2, small_items=20, large_items=3000, few_ratings=1000, many_ratings=5000
    )
    result = run(1, sizes)
    assert len(result) == 12
    assert all(value > 0 for value in result.values())
    ratio = result["scale/catalogue/batch_64/large_over_small"]
    small, large = (result[f"scale/catalogue/batch_64/{each}_ns"] for each in ("small", "large"))
    assert ratio == pytest.approx(large / small)


def test_ratios_are_of_pairs():
    class Clock:
        def __init__(self, *seconds):
            self.seconds = iter(seconds)

        def seconds_per_rating(self):
            return next(self.seconds)

    # The first of each is the warming up; the machine was ten times slower in the second round.
    large, small = Clock(99, 2, 20, 2), Clock(99, 1, 10, 1)
    result = compared("case", "large", large, "small", small, repeats=3)
    assert result == {"case/small_ns": 1e9, "case/large_ns": 2e9, "case/large_over_small": 2.0}


def test_an_epoch_takes_every_rating_once(monkeypatch):
    work = Workload.of(1000, 20, 2, scale.WAYS["batch_64"])
    taken = []
    step = work.optimizer.step

    def spied(closure):
        taken.append(closure())
        return step(closure=closure)

    monkeypatch.setattr(work.optimizer, "step", spied)
    before = work.optimizer.param_groups[0]["params"][0].detach().clone()
    assert work.seconds_per_rating() > 0
    users = torch.cat([step_block.ratings.users for step_block in taken])
    assert torch.equal(users.sort().values, work.batches.users.sort().values)
    assert not torch.equal(before, work.optimizer.param_groups[0]["params"][0])


def test_items_are_skewed_and_popular_ones_anywhere():
    users, items, ratings = columns(100_000, 1000)
    counts = np.sort(np.bincount(items, minlength=1001)[1:])[::-1]
    assert items.min() >= 1
    assert items.max() <= 1000
    assert counts[:100].sum() > 0.3 * len(items)  # a tenth of the items
    assert np.argsort(-np.bincount(items))[:50].max() > 500
    assert set(ratings.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert users.min() >= 1
    assert users.max() <= 50
