import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train
from lightning_collab.training.solvers import least_squares
from lightning_collab.training.solvers.least_squares import AlternatingLeastSquares


def example(run_config, *overrides, n=60):
    random = np.random.default_rng(1)
    pairs = random.permutation(8 * 11)[:n]
    users, items = pairs // 11 + 1, pairs % 11 + 1
    ratings = random.integers(1, 6, n).astype(np.float32)
    torch.manual_seed(0)
    config = run_config("model=least_squares_factors", "model.factors=3", *overrides).model
    model = build_model(
        config, DatasetStatistics(9, 12, (1.0, 5.0), float(ratings.mean()))
    ).double()
    batch = RatingBatch(
        torch.tensor(users), torch.tensor(items), torch.tensor(ratings, dtype=torch.float64)
    )
    return model, batch


def objective(model, batch):
    config = model.config
    total = (model(batch) - batch.ratings).square().sum()
    for ids, factors, bias in (
        (batch.users, model.user_factors, model.user_bias),
        (batch.items, model.item_factors, model.item_bias),
    ):
        counts = torch.bincount(ids, minlength=len(bias.weight)).double()
        weight = torch.where(counts > 0, counts**config.weighting, 0)
        squares = config.penalty * factors.weight.square().sum(1)
        squares += config.bias_penalty * bias.weight.square()[:, 0]
        total = total + (weight * squares).sum()
    return total.item()


@pytest.mark.parametrize("weighting", [0, 0.5, 1])
def test_each_half_sweep_is_a_ridge_regression_of_every_row(run_config, weighting):
    overrides = ("model.penalty=0.7", "model.bias_penalty=0.7", f"model.weighting={weighting}")
    model, batch = example(run_config, *overrides)
    AlternatingLeastSquares(model).step(lambda: batch)
    # The last half of the sweep solved the items for the users as they are now.
    for item in range(1, 12):
        mine = batch.items == item
        users = batch.users[mine]
        design = torch.cat([model.user_factors.weight[users], torch.ones(len(users), 1)], 1)
        target = batch.ratings[mine] - model.output.mean_rating - model.user_bias.weight[users, 0]
        ridge = Ridge(alpha=0.7 * len(users) ** weighting, fit_intercept=False)
        ridge.fit(design.detach().numpy(), target.detach().numpy())
        solved = torch.cat([model.item_factors.weight[item], model.item_bias.weight[item]])
        assert solved.tolist() == pytest.approx(ridge.coef_.tolist(), abs=1e-6)


def test_the_objective_never_rises(run_config):
    model, batch = example(run_config)
    solver = AlternatingLeastSquares(model)
    solver.step(lambda: batch)
    values = []
    for _ in range(10):
        solver.step(lambda: batch)
        values.append(objective(model, batch))
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(values))
    assert values[-1] < values[0]


def test_memory_is_bounded_by_chunks_without_changing_the_solution(run_config, monkeypatch):
    whole, batch = example(run_config)
    AlternatingLeastSquares(whole).step(lambda: batch)
    monkeypatch.setattr(least_squares, "CHUNK_NUMBERS", 1)
    chunked, _ = example(run_config)
    AlternatingLeastSquares(chunked).step(lambda: batch)
    assert torch.allclose(whole.item_factors.weight, chunked.item_factors.weight)


def test_rows_without_ratings_are_zero(run_config):
    model, batch = example(run_config)
    AlternatingLeastSquares(model).step(lambda: batch)
    assert model.user_factors.weight[0].abs().max() == 0


@pytest.mark.parametrize(
    "override",
    [
        "model.factors=5",
        "model.penalty=3",
        "model.bias_penalty=3",
        "model.weighting=1",
        "model.init_range=0.5",
        "trainer.max_epochs=1",
        "seed=1",
    ],
)
def test_every_hyper_parameter_changes_the_result(solved, override):
    assert solved()[0]["val/loss"] != solved(override)[0]["val/loss"]


@pytest.fixture
def solved(small_table, run_config, tmp_path):
    count = iter(range(100))

    def run(*overrides, resume=None):
        config = run_config(
            "model=least_squares_factors",
            "callbacks.progress_bar=false",
            "trainer.max_epochs=3",
            *overrides,
        )
        directory = resume or RunDirectory(tmp_path / f"run{next(count)}")
        directory.path.mkdir(exist_ok=True)
        data = load_data(config, small_table)
        return train(config, directory, data=data, resume=resume is not None), directory

    return run


def test_it_runs_through_the_same_door_and_beats_the_biases(solved):
    metrics, run = solved("trainer.max_epochs=10")
    assert metrics["test/rmse"] < metrics["baseline/bias_rmse"]
    assert read_checkpoint(run.last_checkpoint)["global_step"] == 10
    assert run.best_checkpoint.is_file()


def test_a_resumed_solver_is_an_uninterrupted_one(solved):
    _, whole = solved("trainer.max_epochs=4")
    _, half = solved("trainer.max_epochs=2")
    solved("trainer.max_epochs=4", resume=half)
    one, two = (read_checkpoint(run.last_checkpoint)["state_dict"] for run in (whole, half))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_ranks_are_refused(run_config):
    with pytest.raises(ConfigError, match="model=least_squares_factors is solved without"):
        run_config("model=least_squares_factors", "trainer=ddp_cpu")
