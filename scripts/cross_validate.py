#!/usr/bin/env python
"""Train and test on each of several folds, and compare experiments on the same folds."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="cross_validate")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.cross_validate import cross_validate_job

    cross_validate_job(config)


if __name__ == "__main__":
    main()
