#!/usr/bin/env python
"""Train a rating model, measure it, and leave a run directory."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.train import train_job

    train_job(config)


if __name__ == "__main__":
    main()
