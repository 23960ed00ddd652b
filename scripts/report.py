#!/usr/bin/env python
"""One page that shows a run, several runs side by side, or a study."""

from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from lightning_collab.commands.entry import clear_errors, front_door

# Hydra takes `sweep=...` for a choice from the menu conf/sweep wherever it sees that folder, and
# here it is a key. So this script hands over its two files and leaves conf/ out of the search path.
CONF = Path(__file__).parent.parent / "conf"
STORE = ConfigStore.instance()
STORE.store("report", OmegaConf.load(CONF / "report.yaml"))
STORE.store("report", OmegaConf.load(CONF / "hydra/help/report.yaml"), group="hydra/help")


@clear_errors
@hydra.main(version_base="1.3", config_path=None, config_name="report")
@front_door
def main(config: DictConfig) -> None:
    """Hand the composed config to the job; see --help."""
    from lightning_collab.commands.report import report_job

    report_job(config)


if __name__ == "__main__":
    main()
