"""The files of conf/ and the types say the same."""

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import ValidationError, create_model
from support import CONF

from lightning_collab.config import RunConfig
from lightning_collab.config.section import Section
from lightning_collab.tuning.sweep import register_resolvers

USUAL = {
    group: option
    for entry in yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    if isinstance(entry, dict)
    for group, option in entry.items()
    # Loggers are chosen as a list: each file is of a section below the group.
    if group in RunConfig.model_fields and group != "logger"
}
# What cannot be checked without a value that only the user knows.
NEEDED = {
    "data/csv": ("data.path=ratings.csv",),
    "optimizer/torch": ("optimizer.class_name=RMSprop",),
}


def section(group, option):
    """The typed section of an option, and its values as composed."""
    file = f"{group}/{option}"
    text = (CONF / f"{file}.yaml").read_text()
    if text.startswith("# @package _global_"):
        # It brings values of other groups too, and is an option of the whole config alone.
        composed = compose("train", [f"{group}={option}"])
    else:
        composed = compose(file, [*NEEDED.get(file, ())])
    values = OmegaConf.to_container(composed[group], resolve=True)
    field = RunConfig.model_fields[group]
    checked = create_model("Only", __base__=Section, section=(field.annotation, field))
    return checked.model_validate({"section": values}).section, values


def test_a_file_of_a_group_repeats_the_defaults_of_its_type():
    covered, differing = set(), {}
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for group, usual in USUAL.items():
            kind_of_usual = type(section(group, usual)[0])
            for path in sorted((CONF / group).glob("*.yaml")):
                typed, values = section(group, path.stem)
                kind = type(typed)
                if kind is kind_of_usual and path.stem != usual:
                    continue  # a variant of the default option, with other values by intention
                try:
                    by_default = kind(**{key: values[key] for key in ("name",) if key in values})
                except ValidationError:
                    continue  # a type that has keys without a default
                covered.add(f"{group}={path.stem}")
                if by_default.model_dump(mode="json") != typed.model_dump(mode="json"):
                    differing[f"{group}={path.stem}"] = (by_default, typed)
    assert differing == {}
    for group in ("model", "loss", "split", "scheduler", "metrics", "averaging"):
        assert {f"{group}={path.stem}" for path in (CONF / group).glob("*.yaml")} <= covered
