"""EASE against its definition, and whole runs of it."""

import numpy as np
import polars as pl
import pytest
import torch

import lightning_collab
from lightning_collab.config.model import SquaredErrorConfig
from lightning_collab.data.ranking_batches import Choices
from lightning_collab.errors import ConfigError, DataError
from lightning_collab.inference.export_run import export_run
from lightning_collab.inference.onnx_file import ExportError
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.models import DatasetStatistics, Ease
from lightning_collab.models.config import EaseConfig
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training import build
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train
from lightning_collab.training.solvers.least_squares import ClosedForm

USERS, ITEMS, PENALTY = 8, 7, 3.0
QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.projector=null",
    "trainer=cpu",
    "metrics.top_k=[5]",
    "model=ease",
    "model.regularization=20",
)


@pytest.fixture
def chosen():
    pairs = np.random.default_rng(0).permutation((USERS - 1) * (ITEMS - 1))[:20]
    users, items = np.divmod(pairs, ITEMS - 1)
    rows = (users + 1).astype(np.int32), (items + 1).astype(np.int32)
    return Choices.of(*rows, user_rows=USERS, item_rows=ITEMS)


def test_weights_scores_and_objective_by_hand(chosen):
    model = Ease(EaseConfig(regularization=PENALTY), DatasetStatistics(USERS, ITEMS, (0, 1), 1.0))
    solver = ClosedForm(model, chosen)
    solver.step()
    x = np.zeros((USERS, ITEMS - 1))
    x[chosen.users, chosen.items - 1] = 1
    inverse = np.linalg.inv(x.T @ x + PENALTY * np.eye(ITEMS - 1))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(model.weights, weights, atol=1e-5)
    scores = model.item_scores()
    np.testing.assert_allclose(scores.of_users(slice(0, USERS)), x @ weights, atol=1e-5)
    some = torch.tensor([3, 1])
    np.testing.assert_allclose(scores.of_users(some), (x @ weights)[[3, 1]], atol=1e-5)
    active = (x.sum(1) > 0).sum()
    total = ((x - x @ weights) ** 2).sum() + PENALTY * (weights**2).sum()
    assert solver.loss == pytest.approx(total / (active * (ITEMS - 1)), rel=1e-4)
    assert scores.alike(torch.tensor([2]), torch.tensor([5, 1]))[0].tolist() == pytest.approx(
        [weights[4, 1], weights[0, 1]], abs=1e-5
    )


@pytest.fixture(scope="module")
def run(small_table, run_config, tmp_path_factory):
    config = run_config(*QUIET, "model.positives=4")
    directory = RunDirectory(tmp_path_factory.mktemp("ease") / "run")
    train(config, directory, data=load_data(config, small_table))
    return lightning_collab.load(directory.path)


def test_a_checkpoint_alone_rebuilds_it(run, small_table, run_config):
    config = run_config(*QUIET, "model.positives=4")
    data = load_data(config, small_table)
    chosen = data.chosen(data.rows.train, 4.0)
    user = 3
    expected = run.model.weights[chosen.of_user(user) - 1].sum(0)
    found = run.item_scores.of_users(slice(user, user + 1))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    ids = run.user_vocabulary.ids[[user - 1] * 3], run.item_vocabulary.ids[:3]
    predicted = run.predict(*ids)["score"]
    np.testing.assert_allclose(predicted, expected[:3], atol=1e-5)
    assert run.predict(["nobody"], [run.item_vocabulary.ids[0]])["score"].item() == 0


def test_somebody_new_has_the_scores_of_who_chose_the_same(run):
    rows = run.model.items[run.model.starts[4] : run.model.starts[5]].numpy() + 1
    new = run.ranking_users.rows_of_user(run.item_scores, rows, rows[:0])
    trained = run.item_scores.of_users(slice(4, 5))
    torch.testing.assert_close(run.item_scores.of_rows(new), trained)
    items = run.item_vocabulary.ids.gather(rows - 1).to_list()
    found = run.recommend(items=items, top_k=5)
    assert not set(found["item"]) & set(items)
    reasons = [each["item"] for because in found["because_of"] for each in because]
    assert set(reasons) <= set(items)


def test_similar_items_are_those_that_it_speaks_for(run):
    item = run.item_vocabulary.ids[2]
    found = run.similar(item=item, top_k=4, min_ratings=0)
    weights = run.model.weights[:, 2].clone()
    weights = run.item_scores.alike(torch.arange(1, len(run.items) + 1), torch.tensor([3]))[:, 0]
    weights[2] = -torch.inf
    best = weights.topk(4)
    assert found["item"].equals(run.items["item"].gather(best.indices.numpy()))
    np.testing.assert_allclose(found["similarity"], best.values)
    assert isinstance(found, pl.DataFrame)


def test_without_embeddings_there_is_no_map_and_no_export(run, small_table, tmp_path):
    page = write_run_report(run, load_data(run.directory.read_config(), small_table))
    assert "Whom it serves" in page.read_text()
    with pytest.raises(ExportError, match="no tables of users and items to export"):
        export_run(run, "safetensors", tmp_path, overwrite=False)


def test_a_square_that_does_not_fit_is_refused_with_its_size(
    small_table, run_config, tmp_path, monkeypatch
):
    config = run_config(*QUIET)

    class Little:
        available = 1000

    monkeypatch.setattr(build.psutil, "virtual_memory", lambda: Little)
    with pytest.raises(DataError, match=r"each pair of 20 items needs .* GiB"):
        train(config, RunDirectory(tmp_path / "run"), data=load_data(config, small_table))


def test_what_has_no_part_in_it_is_refused(run_config):
    assert isinstance(run_config(*QUIET).loss, SquaredErrorConfig)
    with pytest.raises(ConfigError, match="starts from nothing"):
        run_config(*QUIET, "init_from=x")
    with pytest.raises(ConfigError, match=r"loss=softmax is minimized by gradient descent"):
        run_config("model=ease", "loss=softmax")
