"""scripts/evaluate.py: the numbers of a trained model again."""

from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console

from lightning_collab.errors import ConfigError
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.checkpoints import checkpoint_of
from lightning_collab.training.console import run_log
from lightning_collab.training.evaluation import evaluate_checkpoint
from lightning_collab.training.run_directory import RunDirectory
from lightning_collab.training.summary import metrics_table


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
        data = load_data(trained)
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
