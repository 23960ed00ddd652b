"""The command add_items: items that a run was not trained on, by their features."""

from pathlib import Path

from omegaconf import DictConfig

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import AddItemsConfig
from lightning_collab.config.section import job_config
from lightning_collab.inference.new_items import add_items, read_items
from lightning_collab.runs.invocation import called_as
from lightning_collab.training.console import say


def add_items_command(config: DictConfig) -> int:
    """Make the items of a file known to a run.

    Args:
        config: of conf/add_items.yaml.

    Returns:
        How many items the run now knows by features alone.

    Raises:
        DataError: the file cannot be read, an item already exists, or no feature is.
        CheckpointError: the run has no map from features to rows.
    """
    asked = job_config(AddItemsConfig, config)
    run = load(asked.run, asked.checkpoint)
    items = read_items(Path(asked.items), run, asked.delimiter)
    known = add_items(run, items, named=asked.items)
    added = f"{len(items):,} item{'' if len(items) == 1 else 's'}"
    say(f"{added} added; {asked.run} knows {known:,} by their features alone")
    say(f"to see them: {called_as('recommend')} run={asked.run} user=<id> new_items=only")
    return known
