#!/usr/bin/env python
"""A trained model for use elsewhere, with a model card."""

import hydra
from omegaconf import DictConfig

from lightning_collab.commands.entry import clear_errors, front_door


@clear_errors
@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.export import export_job

    export_job(config)


if __name__ == "__main__":
    main()
