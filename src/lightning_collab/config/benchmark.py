"""`conf/benchmark.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section


class BenchmarkConfig(Section):
    """What to measure."""

    group: Literal["batches", "data", "inspection", "one_hot", "tuning"]
    """The module of lightning_collab.benchmarks."""
    repeats: Annotated[int, Field(ge=1)]
    """Paired runs, of which the medians are reported."""
    threads: Annotated[int, Field(ge=1)]
    """Threads of torch."""
