"""The command train: one run from a config to a run directory."""

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning import Callback

from lightning_collab.commands.entry import run_config
from lightning_collab.commands.terminal import say, say_file
from lightning_collab.config import RunConfig
from lightning_collab.config.plugins import changed_since
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.runs.lock import run_held
from lightning_collab.training.console import print_summary, run_log
from lightning_collab.training.run import train

log = logging.getLogger(__name__)


def train_command(config: DictConfig) -> dict[str, Any]:
    """Train as the composed config says and print the outcome.

    Args:
        config: of conf/train.yaml.

    Returns:
        The content of metrics.json.
    """
    run = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    # Every rank runs this; only rank zero speaks and writes.
    first = is_first_rank()
    checked = run_config(config, HydraConfig.get())
    with (
        run_held(run.path) if first else nullcontext(),
        run_log(run.log_file if first else None, silent=not first),
    ):
        if first and config.resume is None:
            run.check_new()
        if first and config.resume is not None:
            for line in changed_since(run.read_plain_config()):
                log.warning("%s", line)
        metrics = train(
            checked,
            run,
            resume=config.resume is not None,
            callbacks=inspection_callbacks(checked),
            inspect=_inspect,
        )
    if first and checked.trainer.keeps_nothing:
        say(
            f"{metrics['steps']} steps in {metrics['fit_seconds']:.1f} s; nothing was measured or "
            "kept, as trainer.fast_dev_run and trainer.barebones ask"
        )
    elif first:
        where = Path(os.path.relpath(run.path))
        print_summary(metrics, checked.model.name, where, checked.metrics.further)
        if run.report_file.is_file():
            say_file("report", run.report_file)
    return metrics


def inspection_callbacks(config: RunConfig) -> list[Callback]:
    """What looks at the embeddings while a run trains, as its config asks.

    Args:
        config: of the run.
    """
    # No rank has whole tables to show while they are split; the checkpoint is shown afterwards.
    if config.callbacks.projector is None or config.model.sharded:
        return []
    from lightning_collab.inspection.log_embeddings import LogEmbeddings

    return [LogEmbeddings(config)]


def _inspect(
    config: RunConfig, run: RunDirectory, data: RatingDataModule, metrics: dict[str, Any]
) -> dict[str, Any]:
    if config.callbacks.projector is None and config.callbacks.report is None:
        return metrics
    # Late, since it draws: no run waits for it before its first step.
    from lightning_collab.inspection.after_training import inspect_run

    return inspect_run(config, run, data, metrics)
