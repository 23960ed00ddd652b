"""The default place of a sweep: the same command finds the same one again."""

import hashlib
import re

from omegaconf import DictConfig, OmegaConf

LONGEST_LABEL = 48
HOW_IT_IS_RUN = (
    r"\+*hydra\.sweeper\."
    r"(n_trials|n_jobs|max_failures|retrain_winner|stale_after|fail_fast|storage)="
)


def sweep_directory(*, _root_: DictConfig) -> str:
    """The directory of a sweep, from what was typed; a resolver for `hydra.sweep.dir`.

    A study that has a name has a directory of that name. Otherwise the name is that of the
    shipped sweep, or lists what is swept, with a few digits that tell apart other overrides. How
    it is run (launcher, number of jobs or trials) does not matter.

    Args:
        _root_: the whole config, from OmegaConf.
    """
    hydra = _root_.hydra
    study = OmegaConf.select(hydra, "sweeper.study_name")
    storage = OmegaConf.select(hydra, "sweeper.storage")
    if study is not None:
        return f"outputs/sweeps/{study}"
    typed = sorted(str(each) for each in hydra.overrides.task)
    shipped = [each.removeprefix("sweep=") for each in typed if each.startswith("sweep=")]
    others = [each for each in typed if not each.startswith("sweep=")]
    others += [
        each
        for each in map(str, hydra.overrides.hydra)
        if re.match(r"\+*hydra[./]sweeper", each) and not re.match(HOW_IT_IS_RUN, each)
    ]
    if storage is not None:
        others.append(_without_password(str(storage)))
    label = "+".join(shipped) or ",".join(_swept_keys(typed)) or "sweep"
    label = re.sub(r"[^\w.,+-]", "_", label)[:LONGEST_LABEL]
    if shipped and not others:
        return f"outputs/sweeps/{label}"
    digest = hashlib.sha256("\n".join([*shipped, *others]).encode()).hexdigest()[:8]
    return f"outputs/sweeps/{label}-{digest}"


def _swept_keys(typed: list[str]) -> list[str]:
    """Keys whose value looks like a sweep; only for the label."""
    pairs = [each.split("=", 1) for each in typed if "=" in each]
    return [key.lstrip("+~") for key, value in pairs if re.search(r"[,(]", value)]


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1@", url)


def register_sweep_directory() -> None:
    """Make `${sweep_directory:}` known; must come before Hydra composes."""
    OmegaConf.register_new_resolver("sweep_directory", sweep_directory, replace=True)
