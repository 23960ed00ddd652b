"""What scripts/train.py and scripts/evaluate.py do with their composed config."""

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError
from lightning_collab.front_door import run_config
from lightning_collab.training.console import run_log
from lightning_collab.training.evaluation import checkpoint_of, evaluate_checkpoint
from lightning_collab.training.run import build_module, train
from lightning_collab.training.run_directory import RunDirectory
from lightning_collab.training.summary import metrics_table, print_summary


def train_job(config: DictConfig) -> dict[str, Any]:
    """Train as the composed config says and print the outcome.

    Args:
        config: of conf/train.yaml.

    Returns:
        The content of metrics.json.
    """
    run = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    # Lightning starts this script again for each further rank; only rank zero speaks and writes.
    first = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
    checked = run_config(config, HydraConfig.get())
    with run_log(run.log_file if first else None, quiet=not first):
        metrics = train(checked, run, resume=config.resume is not None)
    if first:
        print_summary(metrics, checked.model.name, Path(os.path.relpath(run.path)))
    return metrics


def evaluate_job(config: DictConfig) -> None:
    """Print the numbers of a checkpoint of a run.

    Args:
        config: of conf/evaluate.yaml.

    Raises:
        ConfigError: no run is named.
    """
    if config.run is None:
        raise ConfigError("say which run: scripts/evaluate.py run=<run directory>")
    run = RunDirectory(Path(config.run))
    trained = run.read_config()
    with run_log(None, quiet=True):
        data = RatingDataModule(
            load_ratings(trained.data), trained.data, trained.split, trained.seed
        )
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        checkpoint = checkpoint_of(
            run, config.checkpoint or ("best" if trained.monitor else "last")
        )
        metrics = evaluate_checkpoint(trainer, build_module(trained, data), data, checkpoint)
    Console().print(metrics_table(metrics, trained.model.name))
