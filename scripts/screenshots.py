#!/usr/bin/env python
"""Photograph the projector and the report of a run, for the documentation."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../benchmarks/conf", config_name="screenshots")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from benchmarks.screenshots import screenshots_job

    screenshots_job(config)


if __name__ == "__main__":
    main()
