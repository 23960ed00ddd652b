"""What a study is, and whether one that exists is the one that is wanted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import yaml

from lightning_collab.config import RunConfig
from lightning_collab.config.renamed import with_new_names
from lightning_collab.config.section import flat
from lightning_collab.errors import ConfigError
from lightning_collab.runs.files import write_atomically
from lightning_collab.tuning.search_space import SearchSpace
from lightning_collab.tuning.settings import StudySettings

STUDY_FILE = "study.yaml"


def write_study_file(sweep_dir: Path, about: Mapping[str, Any]) -> None:
    """Keep what a study is; passwords are for the caller to hide.

    Args:
        sweep_dir: of the sweep.
        about: its name, storage, objectives, ...
    """
    write_atomically(sweep_dir / STUDY_FILE, yaml.safe_dump(dict(about), sort_keys=False))


def read_study_file(sweep_dir: Path) -> dict[str, Any]:
    """What was written of a study.

    Args:
        sweep_dir: of the sweep.

    Raises:
        ConfigError: no study ran there.
    """
    try:
        about: dict[str, Any] = yaml.safe_load((sweep_dir / STUDY_FILE).read_text())
    except OSError:
        raise ConfigError(f"{sweep_dir}: no study ran here (there is no {STUDY_FILE})") from None
    return about


SPACE = "space"
CONFIG = "config"
# Of the machine or of looking on: results are the same.
NOT_COMPARED = ("data.root", "logger", "callbacks.progress_bar")


def set_identity(
    study: optuna.Study, settings: StudySettings, space: SearchSpace, base: RunConfig
) -> None:
    """Write into a new study what it is of.

    Args:
        study: new.
        settings: of it.
        space: what it searches.
        base: its config without any parameter set.
    """
    study.set_user_attr(SPACE, _described(settings, space))
    study.set_user_attr(CONFIG, base.model_dump(mode="json"))


def _described(settings: StudySettings, space: SearchSpace) -> dict[str, Any]:
    return {
        "objectives": settings.objectives,
        "hook": settings.hook,
        "params": {
            name: json.loads(optuna.distributions.distribution_to_json(distribution))
            for name, distribution in space.distributions.items()
        },
    }


def check_same(
    study: optuna.Study, settings: StudySettings, space: SearchSpace, base: RunConfig
) -> None:
    """Refuse to add trials to a study of something else.

    Args:
        study: that exists.
        settings: of the one that is wanted.
        space: what that searches.
        base: its config without any parameter set.

    Raises:
        ConfigError: they differ in direction, space or config.
    """
    other = f"the study {study.study_name} exists already and"
    choose = "choose another hydra.sweeper.study_name (or hydra.sweep.dir)"
    directions = [each.name.lower() for each in study.directions]
    if directions != list(settings.directions):
        raise ConfigError(
            f"{other} its direction is {', '.join(directions)}, not "
            f"{', '.join(settings.directions)}; {choose}"
        )
    before, now = study.user_attrs.get(SPACE), _described(settings, space)
    if before is None:
        raise ConfigError(f"{other} was not made by this sweeper; {choose}")
    differing = [key for key in ("objectives", "hook") if before[key] != now[key]]
    names = sorted({*before["params"], *now["params"]})
    differing += [name for name in names if before["params"].get(name) != now["params"].get(name)]
    if differing:
        raise ConfigError(
            f"{other} searches another space (differing: {', '.join(differing)}); {choose}"
        )
    old = dict(flat(with_new_names(study.user_attrs[CONFIG])))
    new = dict(flat(base.model_dump(mode="json")))
    ignored = (*NOT_COMPARED, *space.distributions)
    changes = [
        f"{key}={new.get(key)} (was {old.get(key)})"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not key.startswith(ignored)
    ]
    if changes:
        raise ConfigError(
            f"{other} its trials have another config, so that results could not be compared: "
            f"{', '.join(changes)}; {choose}"
        )
