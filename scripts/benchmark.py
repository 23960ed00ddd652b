#!/usr/bin/env python
"""Measure speed, as ratios of things that ran side by side."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../benchmarks/conf", config_name="benchmark")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from benchmarks.command import benchmark_job

    benchmark_job(config)


if __name__ == "__main__":
    main()
