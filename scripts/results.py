#!/usr/bin/env python
"""Run the experiments behind docs/results.md and write it anew."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../benchmarks/conf", config_name="results")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from benchmarks.results.command import results_job

    results_job(config)


if __name__ == "__main__":
    main()
