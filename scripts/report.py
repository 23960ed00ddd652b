#!/usr/bin/env python
"""One page that shows a run, several runs side by side, or a study."""

import hydra
from omegaconf import DictConfig

from lightning_collab.front_door import front_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="report")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.jobs.report import report_job

    report_job(config)


if __name__ == "__main__":
    main()
