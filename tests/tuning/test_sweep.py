"""The same command has the same directory; another one has another."""

import shlex

import pytest
from hydra.types import RunMode

from lightning_collab.runs.invocation import hydra_value


@pytest.fixture
def directory_of(config_loader):
    def directory(*typed):
        config = config_loader.load_configuration("train", list(typed), RunMode.MULTIRUN)
        return str(config.hydra.sweep.dir)

    return directory


def test_a_shipped_sweep_has_its_own_name(directory_of):
    assert directory_of("sweep=dot_bias") == "outputs/sweeps/dot_bias"
    assert directory_of("sweep=dot_bias", "hydra.sweeper.study_name=mine") == "outputs/sweeps/mine"


def test_how_it_is_run_does_not_matter_what_is_run_does(directory_of):
    first = directory_of("model.factors=16,32", "seed=1")
    assert first.startswith("outputs/sweeps/model.factors-")
    assert directory_of("seed=1", "model.factors=16,32", "hydra.sweeper.fail_fast=true") == first
    assert directory_of("model.factors=16,32", "seed=1", "hydra/launcher=joblib") == first
    assert directory_of("model.factors=16,32", "seed=2") != first
    study = ("hydra/sweeper=optuna_study", "model.factors=16,32", "seed=1")
    assert directory_of(*study) != first
    assert directory_of(*study, "hydra.sweeper.n_trials=7") == directory_of(*study)
    assert directory_of(*study, "hydra/sweeper/sampler=gp") != directory_of(*study)


def test_a_directory_can_be_typed_without_quotes(directory_of):
    name = directory_of("model.factors=16,32", "optimizer.lr=0.1,0.2", "model=embedding_net")
    assert name.startswith("outputs/sweeps/model.factors+optimizer.lr-")
    assert hydra_value(name) == shlex.quote(name) == name


def test_each_storage_has_its_own_and_its_password_is_nowhere(directory_of):
    one, other, renewed = (
        directory_of("sweep=dot_bias", f"hydra.sweeper.storage={storage}")
        for storage in (
            "'postgresql://me:a@host/db'",
            "sqlite:///study.db",
            "'postgresql://me:b@host/db'",
        )
    )
    assert one != other
    assert one == renewed
    assert one.startswith("outputs/sweeps/dot_bias-")


def test_a_long_command_has_a_short_name(directory_of):
    long = directory_of(
        *(
            f"optimizer.groups.{group}.lr_scale=0,1"
            for group in ("embeddings", "biases", "hidden", "output")
        )
    )
    assert len(long) < 80
