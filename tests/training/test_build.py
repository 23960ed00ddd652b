"""A run that starts from the rows of another one."""

import polars as pl
import pytest
import torch

from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data, start_from_run
from lightning_collab.training.run import train
from lightning_collab.training.trained_model import TrainedModel

QUICK = ("callbacks.progress_bar=false", "logger=none", "data.batch_size=64", "model.factors=4")


def table_of(items, shift=0, ids=pl.Int64):
    """Ratings of 1 to 5 by 20 users, whose numbers are shifted, of some items."""
    rows = [(user + shift, item, 1.0 + (user + item) % 5) for user in range(20) for item in items]
    frame = pl.DataFrame(rows, schema=["user", "item", "rating"], orient="row")
    frame = frame.with_columns(pl.col("user", "item").cast(ids))
    return RatingTable.of_checked(frame, name="made up", rating_range=(1.0, 5.0))


@pytest.fixture
def before(run_config, tmp_path):
    def run(*overrides, table=None):
        config = run_config(*QUICK, "trainer.max_epochs=3", "scheduler=constant", *overrides)
        directory = RunDirectory(tmp_path / "before")
        train(config, directory, data=load_data(config, table or table_of(range(10))))
        return directory.path

    return run


def started(run_config, path, table, *overrides):
    config = run_config(*QUICK, f"init_from={path}", *overrides)
    module = build_module(config, load_data(config, table))
    drawn = {name: value.clone() for name, value in module.model.state_dict().items()}
    start_from_run(config, module)
    return module, drawn


@pytest.mark.parametrize("model", ["embedding_dot_bias", "embedding_net", "least_squares_factors"])
def test_rows_of_ids_in_both_are_those_of_the_run_and_others_stay_as_drawn(
    before, run_config, model
):
    path = before(f"model={model}")
    # Users 5 to 24 of items 6 to 13: some of each are new.
    module, drawn = started(run_config, path, table_of(range(6, 14), shift=5), f"model={model}")
    trained = TrainedModel.load(path)
    for side, known, new in (
        ("users", range(5, 20), range(20, 25)),
        ("items", range(6, 10), range(10, 14)),
    ):
        theirs = trained.user_vocabulary if side == "users" else trained.item_vocabulary
        ours = module.vocabularies[side]
        for group, tables in module.model.lookup_tables().items():
            name = next(n for n, p in module.model.named_parameters() if p is tables[side].weight)
            table = trained.model.lookup_tables()[group][side].weight
            for each in known:
                mine, other = (v.encode(pl.Series([each]))[0] for v in (ours, theirs))
                assert torch.equal(tables[side].weight[mine], table[other])
            for each in new:
                mine = ours.encode(pl.Series([each]))[0]
                assert torch.equal(tables[side].weight[mine], drawn[name][mine])
    if model == "embedding_net":
        for name, value in trained.model.named_parameters():
            if "factors" not in name:
                assert torch.equal(dict(module.model.named_parameters())[name], value), name


def test_a_run_that_starts_from_another_is_better_after_one_epoch(
    before, run_config, tmp_path, small_table
):
    table = small_table
    path = before("trainer.max_epochs=20", "optimizer.lr=0.02", table=table)
    one = ("trainer.max_epochs=1", "scheduler=constant")
    losses = []
    for name, extra in (("drawn", ()), ("started", (f"init_from={path}",))):
        config = run_config(*QUICK, *one, *extra)
        run = RunDirectory(tmp_path / name)
        losses.append(train(config, run, data=load_data(config, table))["val/rmse"])
        assert run.read_config().init_from == (str(path) if extra else None)
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("model=embedding_net",),
            "init_from: .* model=embedding_dot_bias, and this one embedding_net",
        ),
        (("model.factors=5",), "model.factors=4, and this one 5; set model.factors=4"),
    ],
)
def test_another_model_is_refused(before, run_config, overrides, message):
    path = before()
    with pytest.raises(ConfigError, match=message):
        started(run_config, path, table_of(range(10)), *overrides)


def test_other_ids_are_refused(before, run_config):
    path = before()
    with pytest.raises(ConfigError, match=r"none of these users and .*Int64 there and String"):
        started(run_config, path, table_of(range(10), ids=pl.String))


def test_what_is_no_run_is_refused(run_config, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        started(run_config, tmp_path / "nowhere", table_of(range(10)))


def test_models_that_are_samples_refuse_it(run_config):
    with pytest.raises(ConfigError, match="init_from: model=bayesian_factors is a mean over samp"):
        run_config("model=bayesian_factors", "init_from=somewhere", "trainer.max_epochs=100")
