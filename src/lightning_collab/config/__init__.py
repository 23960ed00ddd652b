"""The config of a run: one module for each folder of `conf/`, and the whole in `run`."""

from lightning_collab.config.run import RunConfig, validated

__all__ = ["RunConfig", "validated"]
