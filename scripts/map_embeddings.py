#!/usr/bin/env python
"""Draw what a trained model has learned of films or users."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="map_embeddings")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.map_embeddings import map_embeddings_job

    map_embeddings_job(config)


if __name__ == "__main__":
    main()
