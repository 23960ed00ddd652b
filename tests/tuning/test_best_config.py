"""best.yaml is the winner's config, whatever it was made of."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support import CONF

from lightning_collab.config.compose import plain
from lightning_collab.tuning.composition import experiment_yaml
from lightning_collab.tuning.sweep import register_resolvers

CASES = [
    ((), {"model.factors": 7, "optimizer.lr": 1e-5}),
    (("sweep=net",), {"model.hidden": 9, "model.hidden_dropout": 0.25}),
    (("trainer=ddp_cpu", "scheduler=constant"), {"model": "embedding_net", "model.hidden": 9}),
    (("sweep=dot_bias", "trainer.max_epochs=6"), {"scheduler.cycle_len": 6 / 7}),
    ((), {}),
]


@pytest.mark.parametrize(("typed", "parameters"), CASES)
def test_as_an_experiment_it_gives_the_same_config(typed, parameters, composer, tmp_path):
    of_trial = composer(*typed)
    text = experiment_yaml(of_trial, parameters, "Trial 3.\nSecond line: {x}")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(text)
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=best"])
    assert plain(config) == plain(of_trial.compose(parameters))


RMSPROP = ("optimizer=torch", "optimizer.class_name=RMSprop")


def test_settings_of_a_torch_optimizer_are_in_it(composer, tmp_path):
    of_trial = composer(*RMSPROP)
    text = experiment_yaml(of_trial, {"optimizer.settings.alpha": 0.75}, "Trial 3.")
    assert OmegaConf.to_container(OmegaConf.create(text)) == {
        "defaults": [{"override /optimizer": "torch"}, "_self_"],
        "optimizer": {"class_name": "RMSprop", "settings": {"alpha": 0.75}},
    }


def test_what_looks_on_is_left_to_whoever_runs_it(composer):
    typed = ("logger=csv", "callbacks.further=[{_target_: a_package.Callback}]")
    for each in (typed, ("logger=[tensorboard,csv]",)):
        text = experiment_yaml(composer(*each), {"optimizer.lr": 0.5}, "Trial 3.")
        assert OmegaConf.to_container(OmegaConf.create(text)) == {"optimizer": {"lr": 0.5}}


def test_it_says_only_what_differs_and_where_it_is_from(composer):
    text = experiment_yaml(composer(), {"optimizer.lr": 0.5}, "Trial 3.")
    lines = text.splitlines()
    assert lines[:2] == ["# @package _global_", "# Trial 3."]
    assert OmegaConf.to_container(OmegaConf.create(text)) == {"optimizer": {"lr": 0.5}}
