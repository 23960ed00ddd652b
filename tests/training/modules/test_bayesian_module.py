from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.models.bayesian_factors import SAMPLED
from lightning_collab.models.config import BayesianFactorsConfig
from lightning_collab.models.feature_rows import features_from_buffers
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.modules.bayesian_module import RunningAverage
from lightning_collab.training.run import train
from lightning_collab.training.solvers import gibbs_sampler
from lightning_collab.training.solvers.gibbs.chain import GibbsChain
from lightning_collab.training.solvers.gibbs_sampler import check_memory
from lightning_collab.training.trainer import SpacedCheckpoint

EVERYTHING = (
    "features=history",
    "+features.time.user_day={of: users, days: 1}",
    "+features.time.item_month={of: items, days: 30}",
)


@pytest.fixture(scope="module")
def sampled(small_table, run_config, tmp_path_factory):

    def run(*overrides, resume=None):
        config = run_config(
            "model=bayesian_factors",
            "model.factors=2",
            "model.burn_in=2",
            "callbacks.progress_bar=false",
            "logger=none",
            "trainer.max_epochs=6",
            *EVERYTHING,
            *overrides,
        )
        directory = resume or RunDirectory(tmp_path_factory.mktemp("run"))
        directory.path.mkdir(exist_ok=True)
        data = load_data(config, small_table)
        return train(config, directory, data=data, resume=resume is not None), directory

    return run


@pytest.mark.parametrize(
    "override",
    [
        "model.factors=3",
        "model.burn_in=1",
        "model.samples=2",
        "model.user_noise=false",
        "model.item_noise=false",
        "model.joint_regression=0",
        "trainer.max_epochs=5",
        "seed=1",
        "~features.users.history",
        "~features.time.user_day",
    ],
)
def test_every_hyper_parameter_changes_the_result(sampled, override, plain_loss):
    assert sampled(override)[0]["val/loss"] != plain_loss


@pytest.fixture(scope="module")
def plain_loss(sampled):
    return sampled()[0]["val/loss"]


def test_a_run_beats_the_biases_and_says_how_sure_it_is(sampled):
    metrics, run = sampled("trainer.max_epochs=40", "model.burn_in=10")
    assert metrics["test/rmse"] < metrics["baseline/bias_rmse"]
    shares = [metrics[f"test/coverage_{percent}"] for percent in (50, 80, 95)]
    assert shares == sorted(shares)
    assert shares[0] > 0.3
    assert shares[2] > 0.85
    assert metrics["test/deviation"] > 0
    content = read_checkpoint(run.last_checkpoint)
    assert content["global_step"] == 40
    assert content["state_dict"]["model.kept"] == 30


def test_a_resumed_chain_is_an_uninterrupted_one(sampled):
    _, whole = sampled("trainer.max_epochs=8", "model.samples=3")
    _, half = sampled("trainer.max_epochs=5", "model.samples=3")
    sampled("trainer.max_epochs=8", "model.samples=3", resume=half)
    one, two = (read_checkpoint(run.last_checkpoint) for run in (whole, half))
    assert all(torch.equal(one["state_dict"][n], two["state_dict"][n]) for n in one["state_dict"])
    chains = (content["optimizer_states"][0]["chain"] for content in (one, two))
    assert equal(*chains)


def equal(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    return torch.equal(torch.as_tensor(one), torch.as_tensor(two))


def rebuilt(run):
    """The model of a run, from its checkpoint alone."""
    content = read_checkpoint(run.last_checkpoint)
    state = {
        name.removeprefix("model."): value
        for name, value in content["state_dict"].items()
        if name.startswith("model.")
    }
    config = BayesianFactorsConfig.model_validate(content["config"]["model"])
    users, items = len(state["user_noise"]), len(state["item_noise"])
    statistics = DatasetStatistics(
        users, items, (1.0, 5.0), 0.0, time_effects=features_from_buffers(state).time
    )
    model = build_model(config, statistics)
    model.load_state_dict(state)
    return model.eval()


def test_a_checkpoint_alone_predicts(sampled, run_config, small_table):
    metrics, run = sampled("split.val=0")
    model = rebuilt(run)
    config = run.read_config()
    data = load_data(config, small_table)
    batch = next(iter(data.whole_batches(data.rows.test)))
    errors = model(batch).clamp(1, 5) - batch.ratings
    assert errors.square().mean().sqrt().item() == pytest.approx(metrics["test/rmse"], rel=1e-5)
    without_days = model(batch._replace(day=None))
    assert not torch.equal(without_days, model(batch)), "effects of time have a part in it"


def test_the_running_average_is_the_prediction(sampled, run_config, small_table):
    config = run_config("model=bayesian_factors", "model.samples=3", "model.burn_in=0")
    data = load_data(config, small_table)
    module = build_module(config, data)
    batch = next(iter(data.train_dataloader()))
    sampler, average = module.configure_optimizers(), RunningAverage()
    for _ in range(9):
        sampler.step(closure=lambda: batch)
        assert torch.equal(average.predict(module.model, batch), module.model(batch))


def test_a_chain_that_diverges_says_so(sampled, monkeypatch):
    sweep = GibbsChain.sweep

    def broken(chain):
        if chain.sweeps == 3:
            chain.items.rows[1, 0] = np.nan
        sweep(chain)

    monkeypatch.setattr(GibbsChain, "sweep", broken)
    with pytest.raises(TrainingError, match=r"the chain has diverged: .* in sweep 4"):
        sampled()


def test_ratings_that_are_all_the_same_are_no_reason_to_diverge(run_config, small_table):
    config = run_config("model=bayesian_factors", "model.burn_in=0")
    data = load_data(config, small_table)
    module = build_module(config, data)
    batch = next(iter(data.train_dataloader()))
    same = batch._replace(ratings=torch.full_like(batch.ratings, 3.0))
    sampler = module.configure_optimizers()
    for _ in range(5):
        sampler.step(closure=lambda: same)
    assert torch.isfinite(module.model.user_samples).all()


def test_checkpoints_are_written_now_and_then_and_at_the_end(sampled, monkeypatch):
    written = []
    save = SpacedCheckpoint._save_checkpoint
    monkeypatch.setattr(
        SpacedCheckpoint,
        "_save_checkpoint",
        lambda self, trainer, path: (
            written.append(trainer.current_epoch),
            save(self, trainer, path),
        ),
    )
    sampled()
    assert set(written) == {5}
    written.clear()
    monkeypatch.setattr(SpacedCheckpoint, "SECONDS", 0.0)
    sampled()
    assert set(written) >= {0, 1, 2, 3, 4, 5} - {0}


def test_bad_configs_are_refused(run_config):
    for overrides, message in (
        (("trainer=ddp_cpu",), "model=bayesian_factors is solved without"),
        (("find_lr=true",), "has no learning rate"),
        (("model.burn_in=15",), "model.burn_in: no sample is kept after 15 sweeps"),
        (("model.samples=0",), "model.samples"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_config("model=bayesian_factors", *overrides)


def test_more_than_memory_allows_is_refused_at_once(run_config, small_table, monkeypatch):
    config = run_config("model=bayesian_factors", "features=history", "model.factors=2")
    data = load_data(config, small_table)
    model = build_module(config, data).model
    samples = sum(getattr(model, name).numel() * 4 for name in SAMPLED)
    memory = SimpleNamespace(available=0)
    monkeypatch.setattr(gibbs_sampler.psutil, "virtual_memory", lambda: memory)
    for free, message in (
        (samples - 1, "model.samples=200 samples of this model take .* GiB"),
        (samples + 100, "features.users.history: .* set model.joint_regression below"),
    ):
        memory.available = free
        with pytest.raises(TrainingError, match=message):
            check_memory(model, data.features)
    shapes = [block.matrix.shape for block in (*data.features.users, *data.features.items)]
    # Three matrices and a work space of features by features, and the basis: float64.
    needed = max(8 * (4 * min(shape) ** 2 + shape[0] * min(shape)) for shape in shapes)
    memory.available = samples + needed
    check_memory(model, data.features)
    memory.available -= 1
    with pytest.raises(TrainingError, match="to draw its side-information regression"):
        check_memory(model, data.features)


def test_the_prediction_of_a_cold_pair_is_near_the_mean(sampled, small_table):
    _, run = sampled("trainer.max_epochs=20", "model.burn_in=5", "~features.time")
    trained = rebuilt(run)
    ids = torch.zeros(1, dtype=torch.int32)
    predicted, deviation = trained.predict_with_deviation(RatingBatch(ids, ids, torch.zeros(1)))
    assert abs(predicted.item() - float(small_table.ratings.mean())) < 0.7
    assert deviation.item() > small_table.ratings.std() * 0.7
