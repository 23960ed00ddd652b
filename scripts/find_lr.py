#!/usr/bin/env python
"""Look for a learning rate by a range test."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="find_lr")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.find_lr import find_lr_job

    find_lr_job(config)


if __name__ == "__main__":
    main()
