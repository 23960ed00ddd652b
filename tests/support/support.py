"""What test modules import from one another."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lightning_collab.tuning.sweep import register_resolvers

REPOSITORY = Path(__file__).parents[2]
CONF = REPOSITORY / "conf"


def composed(*overrides: str) -> dict:
    """The plain config that scripts/train.py would compose, without Hydra's own part."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    config.pop("resume")
    return config
