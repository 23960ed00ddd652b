"""What all commands share: clear errors, and a config checked before anything is written."""

import functools
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from lightning_collab.config import RunConfig, validated
from lightning_collab.config.compose import check_resumed, config_error, plain, resumed_config
from lightning_collab.config.cross_validation import OWN_KEYS, cross_validation_config
from lightning_collab.config.plugins import check_installed
from lightning_collab.errors import (
    ConfigError,
    LightningCollabError,
    OutOfMemoryError,
    StorageError,
    TrainerArgumentError,
    TrainingError,
)
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.launch import launched, with_launched_ranks
from lightning_collab.runs.text import printable
from lightning_collab.tuning.sweep import register_resolvers

Task = Callable[[DictConfig], Any]

# The exit code of a program that Ctrl-C has ended.
INTERRUPTED = 130


class Composing:
    """While Hydra composes it raises its errors to us; those of the task it prints itself."""

    _variable = "HYDRA_FULL_ERROR"

    def __init__(self) -> None:
        # Whether an error that is raised now is ours to report.
        self.answered = False

    def begin(self) -> None:
        """Let errors be raised as they are, for callers that ask for it."""
        if os.environ.get(self._variable) != "1":
            os.environ[self._variable] = "1"
            self.answered = True

    def end(self) -> None:
        """Leave errors to Hydra again, here and in processes that are started."""
        if self.answered:
            del os.environ[self._variable]
        self.answered = False


COMPOSING = Composing()


def clear_errors(main: Callable[[], Any]) -> Callable[[], Any]:
    """Report overrides that Hydra cannot compose in the form of all config errors.

    With HYDRA_FULL_ERROR=1, what Hydra raises is shown.

    Args:
        main: what `hydra.main` has made.
    """

    @functools.wraps(main)
    def answered() -> Any:
        sys.argv[1:] = for_resume(sys.argv[1:])
        COMPOSING.begin()
        try:
            return main()
        except HydraException as error:
            if not COMPOSING.answered:
                raise
            sys.exit(_message(config_error(error, sys.argv[1:])))
        except LightningCollabError as error:
            # Of a part of others that is asked for while the config is composed.
            sys.exit(_message(error))
        finally:
            COMPOSING.end()

    return answered


# A key within a section, as it is typed to be changed.
KEY_OF_SECTION = re.compile(r"(?!hydra\.)\w+\.[\w.]+=")


def for_resume(arguments: list[str]) -> list[str]:
    """The arguments of a resumed run, with keys that Hydra's defaults need not have.

    A run may be of other options than the defaults are (data=csv, optimizer=sgd), and has their
    keys. Whether a key is known is decided by the run's own config, which it overrides.

    Args:
        arguments: as they were typed.
    """
    if not any(each.startswith("resume=") for each in arguments):
        return arguments
    return [f"++{each}" if KEY_OF_SECTION.match(each) else each for each in arguments]


def command(task: Task) -> Task:
    """Make a command end with one clear message, and exit code 1, where the user can act.

    In a multirun the error is passed on to Hydra, which reports the job as failed.
    """
    register_resolvers()

    @functools.wraps(task)
    def opened(config: DictConfig) -> Any:
        COMPOSING.end()
        threading.excepthook = _unless_disk_full
        try:
            return task(config)
        except LightningCollabError as error:
            RunDirectory(Path(HydraConfig.get().runtime.output_dir)).remove_unstarted()
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            logging.getLogger("lightning_collab").debug("", exc_info=error)
            sys.exit(_message(error))
        except KeyboardInterrupt:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            logging.getLogger("lightning_collab").debug("stopped", exc_info=True)
            print("stopped", file=sys.stderr)  # noqa: T201 - there may be no log
            sys.exit(INTERRUPTED)
        except Exception as error:
            known = (
                StorageError.behind(error)
                or OutOfMemoryError.behind(error)
                or TrainerArgumentError.behind(error)
                or TrainingError.behind(error)
            )
            if known is None:
                raise
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise known from error
            sys.exit(_message(known))

    return opened


def run_config(config: DictConfig, hydra: Any) -> RunConfig:
    """The checked config of a training run.

    Args:
        config: what Hydra composed.
        hydra: Hydra's own part of it.

    Raises:
        ConfigError: see `validated`.
        CheckpointError: `resume` names something that is not a run directory.
    """
    typed = list(hydra.overrides.task)
    everything = [*typed, *hydra.overrides.hydra]
    if config.get("resume") is None:
        return validated(with_launched_ranks(plain(config), launched(), everything))
    directory = RunDirectory(Path(config.resume))
    saved = directory.read_plain_config()
    check_installed(saved, directory.config_file)
    resumed = resumed_config(saved, config, typed, hydra.job.config_name)
    checked = validated(with_launched_ranks(resumed, launched(), everything))
    check_resumed(saved, checked)
    return checked


class CheckBeforeStart(Callback):
    """Hydra callback: refuse a bad config or an unwritable place before anything is written."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check, and end the process with a message where something is wrong."""
        COMPOSING.end()
        # Hydra only warns of an Exception in a callback; SystemExit ends the process.
        try:
            HydraConfig.instance().set_config(config)
            own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            checked = run_config(own, config.hydra)
            if checked.trainer.accelerator == "gpu" or checked.trainer.strategy == "ddp":
                from lightning_collab.training.parts import check_devices

                check_devices(checked.trainer)
            from lightning_collab.training.parts import check_parts

            check_parts(checked)
            _check_writable(Path(_run_directory(config)))
        except LightningCollabError as error:
            sys.exit(_message(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a sweep that every rank of a launcher would run."""
        COMPOSING.end()
        launch = launched()
        if launch is not None and launch.ranks > 1:
            sys.exit(
                f"error: each of the {launch.ranks} ranks that {launch.launcher} has started would "
                "run the whole sweep; start it once, and it starts the ranks of each run itself"
            )


class CheckCrossValidation(CheckBeforeStart):
    """Hydra callback: as for a run, without the keys that are not the run's."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check, and end the process with a message where something is wrong."""
        own = OmegaConf.masked_copy(config, list(OWN_KEYS))
        try:
            cross_validation_config(plain(own))
        except LightningCollabError as error:
            sys.exit(_message(error))
        run = OmegaConf.masked_copy(config, [str(key) for key in config if key not in OWN_KEYS])
        super().on_run_start(run, **kwargs)


def _run_directory(config: DictConfig) -> str:
    try:
        return str(config.hydra.run.dir)
    except InterpolationResolutionError as error:
        if isinstance(error.__cause__, LightningCollabError):
            raise error.__cause__ from None
        raise


def _check_writable(directory: Path) -> None:
    was_there = directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        if directory.is_dir() and not was_there:
            directory.rmdir()
        raise ConfigError(
            f"cannot write the run directory {directory} ({error.strerror}); "
            "set hydra.run.dir to a folder that can be written"
        ) from error


def _unless_disk_full(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread; a full disk is reported once, by the main one."""
    if StorageError.behind(failure.exc_value) is None:
        threading.__excepthook__(failure)


def _message(error: LightningCollabError) -> str:

    # Names and values from files are in it, and must not be able to steer the terminal.
    return "\n".join(printable(line) for line in f"error: {error}".split("\n"))
