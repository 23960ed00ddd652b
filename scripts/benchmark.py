#!/usr/bin/env python
"""Measure speed, as ratios of things that ran side by side."""

import hydra
from omegaconf import DictConfig

from lightning_collab.front_door import front_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.jobs.benchmark import benchmark_job

    benchmark_job(config)


if __name__ == "__main__":
    main()
