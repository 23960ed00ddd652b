"""What both sweepers begin with: one directory for all jobs, and checks before the first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from lightning_collab.errors import ConfigError
from lightning_collab.tuning.composition import quoted


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

    def launcher(self, task_function: Any) -> Any:
        """The launcher that the config names, for a task of ours.

        Args:
            task_function: takes a job's config.
        """
        from hydra.core.plugins import Plugins

        return Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=task_function, config=self.config
        )

    @property
    def launcher_is_basic(self) -> bool:
        """Whether jobs run one after another in this process."""
        return str(self.config.hydra.launcher._target_).endswith("BasicLauncher")

    def let_launcher_run(self, n_jobs: int) -> None:
        """Give a launcher that counts its slots as many as the sweep wants."""
        with read_write(self.config), open_dict(self.config):
            if "n_jobs" in self.config.hydra.launcher:
                self.config.hydra.launcher.n_jobs = n_jobs
