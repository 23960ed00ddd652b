"""The command train: one run from a config to a run directory."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightning_collab.api.training import train_run
from lightning_collab.commands.entry import run_config
from lightning_collab.runs.directory import RunDirectory


def train_command(config: DictConfig) -> dict[str, Any]:
    """Train as the composed config says and print the outcome.

    Args:
        config: of conf/train.yaml.

    Returns:
        The content of metrics.json.
    """
    run = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    checked = run_config(config, HydraConfig.get())
    return train_run(checked, run, resume=config.resume is not None).metrics
