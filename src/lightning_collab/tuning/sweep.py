"""What both sweepers begin with: one directory for all jobs, and checks before the first."""

import hashlib
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, cast

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import LONGEST_LABEL, run_suffix
from lightning_collab.runs.invocation import quoted
from lightning_collab.runs.launch import run_directory_of_all
from lightning_collab.runs.text import hidden
from lightning_collab.tuning.processes import workers_end_with_us

HOW_IT_IS_RUN = (
    r"\+*hydra\.sweeper\."
    r"(n_trials|n_jobs|batched|trials_per_batch|max_failures|retrain_winner|stale_after|fail_fast|storage)="
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
        # As earlier versions wrote it, so that a study is found again.
        others.append(hidden(str(storage)).replace(":***@", "@"))
    label = "+".join(shipped) or "+".join(_swept_keys(typed)) or "sweep"
    label = re.sub(r"[^\w.+-]", "_", label, flags=re.ASCII)[:LONGEST_LABEL]
    if shipped and not others:
        return f"outputs/sweeps/{label}"
    digest = hashlib.sha256("\n".join([*shipped, *others]).encode()).hexdigest()[:8]
    return f"outputs/sweeps/{label}-{digest}"


def _swept_keys(typed: list[str]) -> list[str]:
    """Keys whose value looks like a sweep; only for the label."""
    pairs = [each.split("=", 1) for each in typed if "=" in each]
    return [key.lstrip("+~") for key, value in pairs if re.search(r"[,(]", value)]


def run_label(*, _root_: DictConfig) -> str:
    """Model, loss and what was typed, for the name of a run; a resolver for `hydra.run.dir`.

    Args:
        _root_: the whole config, from OmegaConf.
    """
    names = [OmegaConf.select(_root_, f"{part}.name") for part in ("model", "loss")]
    typed = map(str, _root_.hydra.overrides.task)
    others = [each for each in typed if not each.startswith(("model=", "loss="))]
    return run_suffix(names[0], names[1], others)


def register_resolvers() -> None:
    """Make known what `conf/` uses in `${...}`; must come before Hydra composes."""
    OmegaConf.register_new_resolver(
        "run_directory", lambda resume, fresh: resume or run_directory_of_all(fresh), replace=True
    )
    OmegaConf.register_new_resolver("run_label", run_label, replace=True)
    OmegaConf.register_new_resolver("sweep_directory", sweep_directory, replace=True)


@dataclass(frozen=True)
class Sweep:
    """A multirun that Hydra has composed.

    Attributes:
        hydra_context: Hydra's config loader and callbacks.
        task_function: the script's.
        config: of the sweep, with its `hydra` part.
    """

    hydra_context: Any
    task_function: Any
    config: DictConfig

    @property
    def directory(self) -> Path:
        """Of the sweep, absolute."""
        return Path(self.config.hydra.sweep.dir).absolute()

    @property
    def settings(self) -> dict[str, Any]:
        """The content of `hydra.sweeper`, resolved."""
        values: Any = OmegaConf.to_container(self.config.hydra.sweeper, resolve=True)
        return dict(values)

    @property
    def trains(self) -> bool:
        """Whether the jobs' config is that of a training run."""
        callbacks = self.config.hydra.callbacks or {}
        return any(
            str(node.get("_target_", "")).endswith(".CheckBeforeStart")
            for node in callbacks.values()
        )

    def pin_directory(self) -> None:
        """Let all jobs write below the directory that the sweep itself has.

        Its name may come from the time or from what was typed, which is another for each job.

        Raises:
            ConfigError: it cannot be written.
        """
        directory = str(self.directory)
        config = self.config
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = directory
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(directory)}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot write the sweep directory {directory}: {error.strerror}; set "
                "hydra.sweep.dir to one that can be written"
            ) from None

    def launch(self, task_function: Any, overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
        """Let the launcher that the config names run jobs of a task of ours.

        Args:
            task_function: takes a job's config.
            overrides: of each job.
        """
        from hydra.core.plugins import Plugins

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=task_function, config=self.config
        )
        with nullcontext() if self.launcher_is_basic else workers_end_with_us():
            return list(launcher.launch(overrides, initial_job_idx=0))

    @property
    def launcher_is_basic(self) -> bool:
        """Whether jobs run one after another in this process."""
        return str(self.config.hydra.launcher._target_).endswith("BasicLauncher")

    def let_launcher_run(self, n_jobs: int) -> None:
        """Give a launcher that counts its slots as many as the sweep wants."""
        with read_write(self.config), open_dict(self.config):
            if "n_jobs" in self.config.hydra.launcher:
                self.config.hydra.launcher.n_jobs = n_jobs


def job_error(result: JobReturn) -> Exception | None:
    """What a job that a launcher ran ended with; None where it ended well."""
    if result.status != JobStatus.FAILED:
        return None
    with redirect_stderr(StringIO()):  # Hydra has a line of its own about it
        try:
            return cast(Exception, result.return_value)  # raises it
        except Exception as error:
            return error


def say(line: str) -> None:
    """Tell the terminal, whose output may be redirected to a file."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - what a terminal is told
