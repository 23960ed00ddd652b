#!/usr/bin/env python
"""What to watch next, for a user, for everybody or for a new person."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="recommend")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.recommend import recommend_job

    recommend_job(config)


if __name__ == "__main__":
    main()
