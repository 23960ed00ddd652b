"""The shipped YAML: config groups in which each key has a comment and each option can be had."""

import re
from pathlib import Path

import pytest
from support import CONF, composed

from lightning_collab.config import validated
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.trainer import build_bare_trainer

FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
GROUPS = (
    "averaging",
    "callbacks",
    "features",
    "logger",
    "loss",
    "metrics",
    "model",
    "optimizer",
    "scheduler",
    "split",
    "trainer",
    "training",
)
OPTIONS = sorted(f"{path.parent}={path.stem}" for path in FILES if str(path.parent) in GROUPS)
EXPERIMENTS = sorted(path.stem for path in FILES if str(path.parent) == "experiment")
# What an option cannot do without.
NEEDED = {
    "optimizer=torch": ("optimizer.class_name=RMSprop",),
    "split=predefined": (
        "data=csv",
        "data.path=x.csv",
        "data.test_path=y.csv",
        "split.val_part=null",
    ),
}
OWN_KEY = re.compile(r"^(?P<indent> *)(?P<key>[a-z_0-9]+):(?P<rest>.*)$")


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] != "hydra"], ids=str)
def test_every_key_has_a_comment(path):
    lines = (CONF / path).read_text().splitlines()
    assert lines[0].startswith("#"), "the file says what it is"
    nested_in = None
    for number, line in enumerate(lines):
        match = OWN_KEY.match(line)
        if match is None:
            continue
        if not match["indent"]:
            nested_in = match["key"]
        # Hydra's own part is explained in Hydra's manual; `name` is the option itself; the keys
        # of an experiment are explained where they are defined.
        if nested_in in ("defaults", "hydra") or match["key"] == "name":
            continue
        if path.parts[0] in ("experiment", "sweep"):
            continue
        explained = "#" in match["rest"] or lines[number - 1].lstrip().startswith("#")
        deeper = f"{match['indent']}  "
        section = match["rest"].strip() == "" and "".join(lines[number + 1 :][:1]).startswith(
            deeper
        )
        assert explained or section, f"line {number + 1}: {line}"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_to_a_valid_config(option):
    validated(composed(option, *NEEDED.get(option, ())))


WITH_DEFAULTS = [
    *(each for each in OPTIONS if each.split("=")[0] in ("optimizer", "averaging", "logger")),
    *("callbacks=default", "lr_range_test=default"),
]


@pytest.mark.parametrize("option", WITH_DEFAULTS)
def test_the_types_have_the_defaults_of_the_files(option):
    """So that a section which leaves keys out is the section of the option it names."""
    group = option.split("=")[0]
    config = composed(option, *NEEDED.get(option, ()))
    whole = validated(config)
    chosen = {"name": config[group]["name"]} if "name" in config[group] else {}
    if group == "logger":
        chosen = {name: {} for name in config[group]}
    if option == "optimizer=torch":
        chosen["class_name"] = "RMSprop"
    assert validated({**config, group: chosen}) == whole
    if group not in ("optimizer", "averaging"):
        default = {key: value for key, value in config.items() if key != group}
        usual = option in ("logger=tensorboard", "callbacks=default", "lr_range_test=default")
        assert (validated(default) == whole) == usual


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_trains_on_a_batch(name, small_table):
    config = validated(composed(f"experiment={name}", "trainer.limit_train_batches=1"))
    split = validated(composed()).split
    data = load_data(config.model_copy(update={"split": split}), small_table)
    module = build_module(config, data)
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    build_bare_trainer(config, [], max_steps=1).fit(module, datamodule=data)
    assert module.global_step == 1
    after = module.model.state_dict()
    assert any(not before[name].equal(after[name]) for name in before)


def test_there_is_something_to_choose():
    assert {Path(option.split("=")[0]).name for option in OPTIONS} == set(GROUPS)
