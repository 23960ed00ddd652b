import pytest
from support import composed

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError


def changed(key, value, *overrides):
    """The composed config with one value replaced or added, past Hydra's own checks."""
    config = composed(*overrides)
    *path, last = key.split(".")
    node = config
    for name in path:
        node = node[name]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.batch_size", 0, r"data\.batch_size"),
        ("data.batch_size", -3, r"data\.batch_size"),
        ("data.batch_size", "half", r"data\.batch_size"),
        ("data.batch_size", 2.5, r"data\.batch_size"),
        ("data.name", "netflix", r"data"),
        ("split.test", 1.0, r"split\.test"),
        ("split.val", -0.1, r"split\.val"),
        ("model.factors", 0, r"model\.factors: .*greater than or equal to 1 \(got 0\)"),
        ("model.factors", "many", r"model\.factors: .*integer \(got 'many'\)"),
        ("model.factors", True, r"model\.factors"),
        ("model.output", "softmax", r"model\.output: .*'sigmoid' or 'linear'"),
        ("model.factor", 3, r"model\.factor: unknown key; did you mean 'factors'"),
        ("model.hidden", 3, r"model\.hidden: unknown key; known here: .*factors"),
        ("optimizer.lr", 0.0, r"optimizer\.lr"),
        ("optimizer.lr", float("nan"), r"optimizer\.lr"),
        ("optimizer.momentum", 0.9, r"optimizer\.momentum: unknown key"),
        ("optimizer.decay", "l1", r"optimizer\.decay"),
        ("optimizer.groups.biases.lr_scale", -1, r"optimizer\.groups\.biases\.lr_scale"),
        ("optimizer.groups.bias", {}, r"optimizer\.groups\.bias: unknown key; .*'biases'"),
        ("optimizer.groups.hidden.lr_scale", 2, r"groups\.hidden: model=embedding_dot_bias has no"),
        ("scheduler.cycle_mult", 0, r"scheduler\.cycle_mult"),
        ("scheduler.cycle_mult", 1.5, r"scheduler\.cycle_mult"),
        ("scheduler.cycle_len", 0, r"scheduler\.cycle_len"),
        ("scheduler.cycle_len", 16, r"scheduler\.cycle_len: a cycle of 16 epochs is longer than"),
        ("lr_range_test.end_lr", 1e-6, r"lr_range_test\.end_lr: must be above"),
        ("trainer.max_epochs", 0, r"trainer\.max_epochs"),
        ("trainer.devices", 0, r"trainer\.devices"),
        ("callbacks.early_stopping", {"patience": 0, "min_delta": 0}, r"early_stopping\.patience"),
        ("seed", -1, r"seed"),
        ("sed", 1, r"sed: unknown key; did you mean 'seed'"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(key, value, message):
    with pytest.raises(ConfigError, match=message):
        validated(changed(key, value))


def test_a_missing_value_is_named():
    config = composed()
    del config["model"]["factors"]
    with pytest.raises(ConfigError, match=r"model\.factors: a value is needed"):
        validated(config)


def test_every_problem_is_told_at_once():
    config = changed("model.factors", 0)
    config["seed"] = -1
    with pytest.raises(ConfigError, match=r"(?s)model\.factors.*seed|seed.*model\.factors"):
        validated(config)


@pytest.mark.parametrize(
    "key", ["callbacks.monitor=val/rmse", "callbacks=early_stopping"], ids=["monitor", "stopping"]
)
def test_watching_without_a_validation_part_is_refused(key, run_config):
    with pytest.raises(ConfigError, match=r"callbacks\..* split\.val"):
        run_config("split.val=0", key)
    assert run_config("split.val=0").monitor is None
    assert run_config().monitor == "val/rmse"


def test_adamw_has_one_form_of_decay(run_config):
    with pytest.raises(ConfigError, match=r"optimizer\.decay"):
        run_config("optimizer=adamw", "optimizer.decay=gradient")
