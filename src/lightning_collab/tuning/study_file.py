"""study.yaml: what a study in a sweep directory is, for those who read it later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_collab.errors import ConfigError
from lightning_collab.training.whole_file import write_whole

STUDY_FILE = "study.yaml"


def write_study_file(sweep_dir: Path, about: Mapping[str, Any]) -> None:
    """Keep what a study is; passwords are for the caller to hide.

    Args:
        sweep_dir: of the sweep.
        about: its name, storage, objectives, ...
    """
    write_whole(sweep_dir / STUDY_FILE, yaml.safe_dump(dict(about), sort_keys=False))


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
