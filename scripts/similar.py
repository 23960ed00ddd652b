#!/usr/bin/env python
"""The films or users that a trained model holds to be similar."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="similar")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.similar import similar_job

    similar_job(config)


if __name__ == "__main__":
    main()
