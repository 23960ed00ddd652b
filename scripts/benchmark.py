#!/usr/bin/env python
"""Measure speed, as ratios of things that ran side by side."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.config import store_config
from lightning_collab.commands.entry import clear_errors, command

store_config("benchmark")


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
@command
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from benchmarks.command import benchmark_command

    benchmark_command(config)


if __name__ == "__main__":
    main()
