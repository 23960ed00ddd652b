"""The config group `features`: blocks by name, changed and deleted from the command line."""

import pytest
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.data import FeaturesConfig
from lightning_collab.errors import ConfigError


def test_ids_alone_unless_asked(run_config):
    assert not run_config().features
    assert run_config("features=history").features


def test_a_config_of_before_there_were_features_means_none():
    plain = composed()
    del plain["features"]
    assert validated(plain).features == FeaturesConfig()


def test_a_block_is_changed_and_deleted_by_its_name(run_config):
    blocks = run_config(
        "features=everything", "features.users.age.bins=5", "~features.users.gender"
    ).features
    assert blocks.users["age"].bins == 5
    assert list(blocks.users) == ["history", "occupation", "age"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+features.users.x={kind: binned, column: age, bin: 4}"], "did you mean 'bins'"),
        (["+features.users.x={kind: category}"], "features.users.x.column: a value is needed"),
        (["+features.users.x={kind: one_hot}"], "features.users.x"),
        (["+features.users.X={kind: history}"], "features.users.*pattern"),
        (["features=everything", "features.time.user_day.days=0"], "features.time.user_day.days"),
        (["features=history", "model=matrix_product"], "model=matrix_product knows .* ids alone"),
        (["features=history", "model=least_squares_factors"], "features=none"),
        (["features.id_dropout=0.2"], "features.id_dropout .* but none is configured for items"),
        (
            ["features=history", "features.id_dropout=0.2"],
            "but nothing but history is configured for",
        ),
        (["features=everything", "features.id_dropout=1"], "features.id_dropout"),
        (
            ["features=everything", "features.id_dropout=0.2", "model=bayesian_factors"],
            "features.id_dropout: model=bayesian_factors is solved without steps",
        ),
        (
            ["features=everything", "features.id_dropout=0.2", "training.engine=fused"],
            "no fused kernels for features.id_dropout=0.2",
        ),
        (["features=everything", "data=synthetic"], r"features.time.user_day needs timestamps"),
        (
            [
                "features=history",
                "training.sgd_threads=2",
                "data.batch_size=1",
                "optimizer=sgd",
                "optimizer.momentum=0",
                "optimizer.decay=per_row",
            ],
            r"training.sgd_threads=2: .*set features=none$",
        ),
        (["features=history", "training.engine=compiled"], "scipy.*training.engine=fused or auto"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validated(composed(*overrides))


def test_effects_of_time_are_biases_also_of_a_model_without_any(run_config):
    decay = "optimizer.groups.biases.weight_decay=0.1"
    run_config("model=embedding_net", "features=everything", decay)
    with pytest.raises(ConfigError, match=r"optimizer\.groups\.biases"):
        run_config("model=embedding_net", "features=history", decay)
