import pytest
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.registry import MODELS
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
        ("data.name", "netflix", r"data\.name: 'netflix' is not known; known here: ml_100k"),
        ("model.name", "embeding_net", r"model\.name: 'embeding_net' .*mean 'embedding_net'"),
        ("model.name", ["x"], r"model\.name"),
        ("model", "embedding_net", r"model: "),
        ("scheduler.name", "cosine", r"scheduler\.name: 'cosine' is not known"),
        ("split.test", 1.0, r"split\.test"),
        ("split.val", -0.1, r"split\.val"),
        ("model.factors", 0, r"model\.factors: .*greater than or equal to 1 \(got 0\)"),
        ("model.range_margin", -0.1, r"model\.range_margin: .*greater than or equal to 0"),
        ("model.init_range", -0.1, r"model\.init_range: .*greater than or equal to 0"),
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


def test_a_key_that_is_left_out_has_its_default():
    config = composed()
    del config["model"]["factors"], config["split"]["val"], config["scheduler"]["cycle_mult"]
    assert validated(config) == validated(composed())


def test_a_section_without_a_name_is_asked_for_one():
    config = composed()
    del config["model"]["name"], config["optimizer"]["name"]
    with pytest.raises(ConfigError) as refused:
        validated(config)
    assert "model.name: a value is needed" in str(refused.value)
    assert "optimizer.name: a value is needed" in str(refused.value)


@pytest.mark.parametrize("model", MODELS.names)
def test_a_models_config_is_of_its_own_class_and_saved_whole(model, run_config):
    config = run_config(f"model={model}")
    assert type(config.model) is MODELS[model]
    saved = config.model_dump(mode="json")
    assert saved["model"] == composed(f"model={model}")["model"]
    assert validated(saved) == config


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
    with pytest.raises(
        ConfigError, match=r"callbacks\.early_stopping .* trainer\.limit_val_batches"
    ):
        run_config("callbacks=early_stopping", "trainer.limit_val_batches=0")


def test_adamw_has_one_form_of_decay(run_config):
    with pytest.raises(ConfigError, match=r"optimizer\.decay"):
        run_config("optimizer=adamw", "optimizer.decay=gradient")


SOLVED = ["ease", "implicit_least_squares"]


@pytest.mark.parametrize("model", SOLVED)
def test_a_solved_model_takes_what_an_experiment_counts_as_chosen(model, run_config):
    experiment = ("experiment=ml_100k_ranking", f"model={model}")
    with pytest.raises(ConfigError) as caught:
        run_config(*experiment)
    advice = str(caught.value).partition("; set ")[2].split()
    assert advice == ["loss=squared_error", "model.positives=4"]
    told = run_config(*experiment, *advice)
    assert told.positives == told.liked == 4
    # With half of the advice too, and by no other config than without the experiment.
    assert run_config(*experiment, advice[0]) == told
    assert run_config(f"model={model}", "model.positives=4") == told


@pytest.mark.parametrize("model", SOLVED)
def test_what_is_typed_for_a_solved_model_goes_before_the_experiment(model, run_config):
    typed = ("experiment=ml_100k_ranking", f"model={model}", "loss=squared_error")
    assert run_config(*typed, "model.positives=all").positives == "all"
    assert run_config(*typed, "loss.positives=3").positives == 3


@pytest.mark.parametrize("model", SOLVED)
def test_plain_values_too_hand_the_positives_to_a_solved_model(model, run_config):
    plain = run_config(f"model={model}").model_dump()
    plain["loss"]["positives"] = 4
    del plain["model"]["positives"]
    assert validated(plain).model.positives == 4


def test_a_loss_of_ratings_has_no_positives_for_a_model_that_is_trained():
    with pytest.raises(ConfigError, match=r"loss\.positives: unknown key"):
        validated(composed("experiment=ml_100k_ranking", "loss=squared_error"))
