"""What `--help` says. Hydra's own template takes seconds, since it copies each option it lists."""

import copy
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from string import Template

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightning_collab.commands import COMMANDS
from lightning_collab.compat import hydra_composer
from lightning_collab.config.plugins import options_of_others
from lightning_collab.errors import LightningCollabError
from lightning_collab.runs import invocation
from lightning_collab.runs.invocation import called_as


def overview() -> str:
    """What all commands are for."""
    lines = ["Learn, compare, tune and inspect embedding models of ratings.", "", "Commands"]
    width = max(map(len, COMMANDS)) + 2
    for name in COMMANDS:
        about = _as_called(yaml.safe_load(_help_file(name).read_text())["header"])
        lines.append(f"  {name.replace('_', '-'):<{width}}{about}")
    example = called_as("train")
    lines += ["", "Each has its own help:", f"  {example} --help", ""]
    return "\n".join(lines)


def help_text(name: str, words: Sequence[str]) -> str:
    """What a command is for, examples, its config groups and its keys.

    Args:
        name: of the command.
        words: typed after it; overrides among them are in the keys that are shown.
    """
    flags, others = invocation.split_flags(words)
    overrides = [word for word in others if not word.startswith("-")]
    folders = [Path(each) for each in _values(flags, "--config-dir", "-cd")]
    config = _composed(name, overrides, folders)
    keys = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    text = Template(config.hydra.help.template).substitute(
        APP_CONFIG_GROUPS=config_groups(
            [
                invocation.conf_folder(),
                *(folder for _, folder in invocation.further_conf_folders()),
                *folders,
            ]
        ),
        CONFIG=OmegaConf.to_yaml(keys, resolve="--resolve" in words).rstrip(),
    )
    return _as_called(text).rstrip() + "\n"


def config_groups(folders: Iterable[Path]) -> str:
    """The options of each config group, one group per line, including parts without a file.

    Args:
        folders: with a folder a group.
    """
    groups = {group: set(names) for group, names in options_of_others().items()}
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group != "." and group.split("/")[0] != "hydra":
                groups.setdefault(group, set()).add(path.stem)
    return "\n".join(f"{group}: {', '.join(sorted(groups[group]))}" for group in sorted(groups))


def _composed(name: str, overrides: list[str], folders: list[Path]) -> DictConfig:
    further = [invocation.hydra_value(folder.absolute().as_uri()) for folder in folders]
    if further:
        overrides = [*overrides, f"hydra.searchpath=[{','.join(further)}]"]
    store = ConfigStore.instance()
    before = copy.deepcopy(store.repo)
    try:
        with hydra_composer(invocation.config_path(name)) as loader:
            config: DictConfig = loader.load_configuration(name, overrides, RunMode.RUN)
        return config
    except (HydraException, LightningCollabError) as error:
        sys.exit(f"error: {error}")
    finally:
        store.repo = before


def _help_file(name: str) -> Path:
    return invocation.conf_folder() / "hydra" / "help" / f"{name}.yaml"


def _values(flags: Sequence[str], *names: str) -> list[str]:
    """What is typed for a flag, as `--flag value` or `--flag=value`."""
    apart = [value for flag, value in pairwise(flags) if flag in names]
    joined = [each.partition("=") for each in flags]
    return [*apart, *(value for flag, _, value in joined if flag in names and value)]


def _as_called(text: str) -> str:
    """Examples in the form that the user has typed."""
    names = "|".join(name.replace("_", "-") for name in COMMANDS)
    return re.sub(rf"lightning-collab ({names})\b", lambda found: called_as(found[1]), text)
