"""One run with all that is around it: lock, log, inspection and summary; for command and Python."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pytorch_lightning import Callback

from lightning_collab.config import RunConfig
from lightning_collab.config.data import FrameConfig
from lightning_collab.config.plugins import changed_since
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import run_held
from lightning_collab.runs.invocation import command_line
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.training.console import print_summary, run_log, say
from lightning_collab.training.run import train

log = logging.getLogger(__name__)

# Gives the ratings of a run, and its config with what is then known of them.
Read = Callable[[RunConfig], tuple[RunConfig, RatingDataModule]]


class Trained(NamedTuple):
    """What a training leaves in memory.

    Attributes:
        metrics: the content of metrics.json.
        data: the ratings, where they were read here.
    """

    metrics: dict[str, Any]
    data: RatingDataModule | None


def train_run(
    config: RunConfig,
    run: RunDirectory,
    *,
    resume: bool = False,
    read: Read | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train into a run directory, and say how it goes and what came of it.

    Every rank runs this; only rank zero speaks and writes. Without a progress bar only warnings
    reach the terminal.

    Args:
        config: of the run.
        run: the run directory.
        resume: go on from its last checkpoint.
        read: gives the ratings; None: what the config names is read.
        callbacks: beside those of the config.

    Raises:
        LightningCollabError: what the user can put right; a run that failed before it began leaves
            no directory behind.
    """
    first = is_first_rank()
    quiet = read is not None and not config.callbacks.progress_bar
    data = None
    try:
        with (
            run_held(run.path) if first else nullcontext(),
            run_log(run.log_file if first else None, quiet=quiet, silent=not first, held=resume),
        ):
            if first and not resume:
                run.check_new()
            if first and resume:
                for line in changed_since(run.read_plain_config()):
                    log.warning("%s", line)
            if read is not None:
                config, data = read(config)
            metrics = train(
                config,
                run,
                resume=resume,
                callbacks=[*inspection_callbacks(config), *callbacks],
                data=data,
                inspect=_inspect,
            )
    except BaseException:
        if first:
            run.remove_unstarted()
        raise
    if data is not None:
        # The data outlives the trainer, and keeps no hold of it.
        data.trainer = None
    if first and not quiet:
        _say_what_came_of_it(config, run, metrics)
    return Trained(metrics, data)


def _say_what_came_of_it(config: RunConfig, run: RunDirectory, metrics: dict[str, Any]) -> None:
    if config.trainer.keeps_nothing:
        say(
            f"{metrics['steps']} steps in {metrics['fit_seconds']:.1f} s; nothing was measured or "
            "kept, as trainer.fast_dev_run and trainer.barebones ask"
        )
        return
    where = Path(os.path.relpath(run.path))
    again = command_line("evaluate", run=where)
    if isinstance(config.data, FrameConfig):
        again = f"lightning_collab.load({str(where)!r}).evaluate(frame)"
    loss = config.loss.name if config.ranks else None
    columns = getattr(config.data, "columns", None)
    called = "interactions" if columns is not None and columns.rating is None else "ratings"
    further = config.metrics.further
    recommend = _first_recommendation(run, where)
    print_summary(metrics, config.model.name, where, again, recommend, further, loss, called)


def _first_recommendation(run: RunDirectory, where: Path) -> str | None:
    """The command that recommends to the first user of a run; None where users are not kept."""
    if not run.users_file.is_file():
        return None
    first = pl.scan_parquet(run.users_file).head(1).collect()
    return None if first.is_empty() else command_line("recommend", run=where, user=first["user"][0])


def inspection_callbacks(config: RunConfig) -> list[Callback]:
    """What looks at the embeddings while a run trains, as its config asks.

    Args:
        config: of the run.
    """
    # No rank has whole tables to show while they are split; the checkpoint is shown afterwards.
    if config.callbacks.projector is None or config.model.sharded:
        return []
    from lightning_collab.inspection.while_training import LogEmbeddings

    return [LogEmbeddings(config)]


def _inspect(
    config: RunConfig, run: RunDirectory, data: RatingDataModule, metrics: dict[str, Any]
) -> dict[str, Any]:
    if config.callbacks.projector is None and config.callbacks.report is None:
        return metrics
    # Late, since it draws: no run waits for it before its first step.
    from lightning_collab.inspection.while_training import inspect_run

    return inspect_run(config, run, data, metrics)
