"""The shipped YAML: config groups in which each key has a comment and each option can be had."""

import re
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
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


def base_of(option):
    """The option of the same group that a file is made of, with other values; None: its own."""
    group, name = option.split("=")
    content = yaml.safe_load((CONF / group / f"{name}.yaml").read_text()) or {}
    for each in content.get("defaults", ()):
        if isinstance(each, str) and each != "_self_":
            return f"{group}={each}"
    return None


VARIANTS = [option for option in OPTIONS if base_of(option) is not None]
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
    *(
        each
        for each in OPTIONS
        if each.split("=")[0] in ("optimizer", "averaging", "logger") and each not in VARIANTS
    ),
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


@pytest.mark.parametrize("option", VARIANTS)
def test_a_variant_is_its_base_with_other_values(option):
    group, name = option.split("=")
    base = base_of(option)
    variant, of_base = composed(option)[group], composed(base)[group]
    own = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    own.pop("defaults")
    assert variant == OmegaConf.to_container(OmegaConf.merge(of_base, own))
    assert variant["name"] == base.split("=")[1]
    assert variant != of_base


# What a loss that ranks brings beside its own section, each of which can be typed over.
BROUGHT = {
    "optimizer.lr": "0.5",
    "optimizer.weight_decay": "0.25",
    "optimizer.frequency_power": "0.125",
    "data.batch_size": "77",
    "model.factors": "5",
    "trainer.max_epochs": "3",
}


@pytest.mark.parametrize("loss", ["softmax", "bce", "bpr"])
def test_what_a_loss_brings_can_be_typed_over(loss):
    usual, bare = composed(), composed(f"loss={loss}")
    typed = composed(*(f"{key}={value}" for key, value in BROUGHT.items()), f"loss={loss}")
    for key, value in BROUGHT.items():
        assert OmegaConf.select(OmegaConf.create(typed), key) == float(value)
        brought = OmegaConf.select(OmegaConf.create(bare), key)
        if key in ("optimizer.lr", "optimizer.frequency_power", "model.factors"):
            assert brought != OmegaConf.select(OmegaConf.create(usual), key)
    other = composed(f"loss={loss}", "optimizer=sgd", "scheduler=constant")
    assert (other["optimizer"]["name"], other["scheduler"]["name"]) == ("sgd", "constant")


@pytest.mark.parametrize("experiment", ["ml_100k_ranking", "ml_1m_ranking", "ml_100k_recbole"])
@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_an_experiment_of_rankings_leaves_another_loss_its_own_values(experiment, loss):
    found = composed(f"experiment={experiment}", f"loss={loss}")
    alone = composed(f"loss={loss}")
    for section in ("optimizer", "scheduler", "model", "trainer"):
        assert found[section] == alone[section]
    assert found["data"]["batch_size"] == alone["data"]["batch_size"]


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
