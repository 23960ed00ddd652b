"""Implicit least squares against dense regressions, and whole runs of it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import lightning_collab
from lightning_collab.data.ranking_batches import Choices
from lightning_collab.models import DatasetStatistics, ImplicitFactors
from lightning_collab.models.config import ImplicitLeastSquaresConfig
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train
from lightning_collab.training.solvers.implicit_least_squares import ImplicitLeastSquares, objective

USERS, ITEMS, FACTORS = 9, 12, 4
KEYS = {"unobserved_weight": 0.3, "regularization": 0.2, "frequency_scaling": 0.7}


@pytest.fixture
def chosen():
    random = np.random.default_rng(2)
    pairs = np.sort(random.permutation((USERS - 1) * (ITEMS - 1))[:40])
    # One user has a single pair, another has none.
    pairs = pairs[~np.isin(pairs // (ITEMS - 1), (2, 3))]
    pairs = np.sort(np.append(pairs, 2 * (ITEMS - 1) + 4))
    users, items = np.divmod(pairs, ITEMS - 1)
    return Choices.of(
        (users + 1).astype(np.int32),
        (items + 1).astype(np.int32),
        user_rows=USERS,
        item_rows=ITEMS,
        weights=random.uniform(0.5, 3, len(pairs)).astype(np.float32),
    )


def model_of(**keys):
    torch.manual_seed(5)
    config = ImplicitLeastSquaresConfig(factors=FACTORS, init_range=0.5, **{**KEYS, **keys})
    return ImplicitFactors(config, DatasetStatistics(USERS, ITEMS, (0.0, 1.0), 1.0)).double()


def dense(chosen):
    """Preferences and confidences of all known pairs."""
    wanted, sure = np.zeros((USERS, ITEMS)), np.zeros((USERS, ITEMS))
    wanted[chosen.users, chosen.items] = 1
    sure[chosen.users, chosen.items] = chosen.weights
    return wanted[1:, 1:], sure[1:, 1:]


def tables(model):
    return [t.weight.detach().numpy() for t in model.lookup_tables()["embeddings"].values()]


def objective_by_hand(model, chosen):
    users, items = (table[1:] for table in tables(model))
    wanted, sure = dense(chosen)
    scores, config = users @ items.T, model.config
    total = (sure * (scores - wanted) ** 2).sum() + config.unobserved_weight * (scores**2).sum()
    for rows, counts, others in (
        (users, (wanted > 0).sum(1), ITEMS - 1),
        (items, (wanted > 0).sum(0), USERS - 1),
    ):
        weight = (counts + config.unobserved_weight * others) ** config.frequency_scaling
        total += config.regularization * (weight * (rows**2).sum(1)).sum()
    return total


def test_the_objective_is_that_of_the_formula(chosen):
    model = model_of()
    solver = ImplicitLeastSquares(model, chosen)
    found = objective(solver._sides, *tables(model), model.config)
    assert found == pytest.approx(objective_by_hand(model, chosen), rel=1e-12)


def test_with_many_steps_each_row_is_the_solution_of_its_regression(chosen):
    model = model_of()
    items_before = tables(model)[1][1:].copy()
    ImplicitLeastSquares(model, chosen, cg_steps=60).step()
    users, items = (table[1:] for table in tables(model))
    wanted, sure = dense(chosen)
    config = model.config

    def solution(row, fixed, weights, targets, others):
        counts = (targets > 0).sum() + config.unobserved_weight * others
        ridge = config.regularization * counts**config.frequency_scaling
        system = fixed.T @ ((weights + config.unobserved_weight)[:, None] * fixed)
        return np.linalg.solve(system + ridge * np.eye(FACTORS), fixed.T @ (weights * targets))

    assert wanted[2:4].sum(1).tolist() == [1, 0]
    assert not users[3].any()
    for row in range(USERS - 1):
        if wanted[row].any():
            expected = solution(row, items_before, sure[row], wanted[row], ITEMS - 1)
            np.testing.assert_allclose(users[row], expected, rtol=1e-7, atol=1e-10)
    for row in range(ITEMS - 1):
        if wanted[:, row].any():
            expected = solution(row, users, sure[:, row], wanted[:, row], USERS - 1)
            np.testing.assert_allclose(items[row], expected, rtol=1e-7, atol=1e-10)


def test_no_sweep_makes_the_objective_larger(chosen):
    model = model_of()
    solver, found = ImplicitLeastSquares(model, chosen), [objective_by_hand(model, chosen)]
    for _ in range(8):
        solver.step()
        found.append(objective_by_hand(model, chosen))
        assert solver.loss == pytest.approx(found[-1] / len(chosen))
    assert all(after < before for before, after in pairwise(found))


@pytest.mark.parametrize("key", KEYS)
def test_each_key_changes_the_solution(key, chosen):
    both = [model_of(), model_of(**{key: KEYS[key] * 1.5})]
    for model in both:
        ImplicitLeastSquares(model, chosen).step()
    assert not np.allclose(*(tables(model)[0] for model in both))


def test_confidence_counts(chosen):
    both = [model_of(), model_of()]
    for model, weights in zip(both, (chosen.weights, None), strict=True):
        ImplicitLeastSquares(model, replace(chosen, weights=weights)).step()
    assert not np.allclose(*(tables(model)[0] for model in both))


QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.projector=null",
    "callbacks.report=null",
    "logger=none",
    "trainer=cpu",
)


def test_a_run_on_real_data_ranks_near_ease(ml_100k, run_config, tmp_path):
    config = run_config(*QUIET, "model=implicit_least_squares", "model.positives=4")
    run = RunDirectory(tmp_path / "run")
    metrics = train(config, run, data=load_data(config, ml_100k))
    assert metrics["test/ndcg@10"] > 0.28
    assert config.monitor == "val/ndcg@10"
    loaded = lightning_collab.load(run.path)
    user = loaded.user_vocabulary.ids[10]
    assert loaded.recommend(user=user)["score"].is_sorted(descending=True)
    own, _ = loaded.history.trained().of(11)
    chosen = load_data(config, ml_100k).chosen(load_data(config, ml_100k).rows.train, 4.0)
    row = loaded.ranking_users.rows_of_user(loaded.item_scores, chosen.of_user(11), own[:0])[
        "embeddings"
    ][0]
    trained_row = loaded.model.user_factors.weight[11]
    # The items have moved once more since the row was solved for, by a few steps.
    assert torch.cosine_similarity(row, trained_row, dim=0) > 0.98


def test_a_run_that_goes_on_is_the_run_that_was_never_stopped(small_table, run_config, tmp_path):
    def of(folder, epochs, **options):
        typed = ("model=implicit_least_squares", "model.factors=4", "metrics.top_k=[5]")
        config = run_config(*QUIET, *typed, f"trainer.max_epochs={epochs}")
        run = RunDirectory(tmp_path / folder)
        train(config, run, data=load_data(config, small_table), **options)
        return read_checkpoint(run.last_checkpoint)["state_dict"]

    whole = of("whole", 5)
    of("parts", 2)
    parts = of("parts", 5, resume=True)
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
