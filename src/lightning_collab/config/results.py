"""`conf/results.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section


class ResultsConfig(Section):
    """What to measure and where to write it."""

    table: Literal["lecture", "accuracy", "batch_sizes", "weight_decay", "all"]
    """Which part of the results."""
    seeds: Annotated[int, Field(ge=1)]
    """Runs of each row of a table."""
    runs: str
    """Folder of the runs."""
    docs: str
    """Folder of results.md and of figures/."""
