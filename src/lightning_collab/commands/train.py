"""The commands train, one run from a config to a run directory, and find_lr, a range test."""

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from lightning_collab.api.training import train_run
from lightning_collab.commands.entry import run_config
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.text import add_numbers, result_table, stdout_console
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log, say
from lightning_collab.training.lr_range_test import LRRangeTest, run_lr_range_test, write_range_test


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


def find_lr_command(config: DictConfig) -> None:
    """Run the test, keep its curve and print what it suggests.

    Args:
        config: of conf/find_lr.yaml.
    """
    checked = run_config(config, HydraConfig.get())
    run = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    rule = checked.lr_range_test.suggestion
    with run_log(None, quiet=True):
        found = run_lr_range_test(checked, load_data(checked))
        rate = found.suggested(rule)
        write_range_test(found, run, chosen=rule)
    _print(found, f"optimizer.lr={rate:g}", Path(os.path.relpath(run.path)))


@rank_zero_only
def _print(found: LRRangeTest, override: str, run: Path) -> None:
    table = result_table(f"suggestions after {len(found.rates)} steps")
    table.add_column("rule")
    add_numbers(table, "optimizer.lr")
    for name, rate in found.suggestions.items():
        table.add_row(name, f"{rate:.3g}")
    stdout_console().print(table)
    say(f"curve   {run}/figures/lr_range_test.png")
    say(f"paste   {override}")
