"""`benchmarks/conf`: the configs of the measurements."""

from pathlib import Path
from typing import Annotated, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from pydantic import Field

from lightning_collab.config.commands import RunPath
from lightning_collab.config.section import Section

CONF = Path(__file__).parent / "conf"
Positive = Annotated[int, Field(ge=1)]


def store_config(name: str) -> None:
    """Give Hydra a config of ours and its help, beside `conf/`, from which runs are composed.

    `hydra.searchpath` would not do: it holds for the config that names it, and not for the
    `compose("train")` of a measurement.

    Args:
        name: of the script.
    """
    store = ConfigStore.instance()
    store.store(name, OmegaConf.load(CONF / f"{name}.yaml"))
    store.store(name, OmegaConf.load(CONF / f"hydra/help/{name}.yaml"), group="hydra/help")


class PeerConfig(Section):
    """How to start a package that the `peers` group compares with."""

    python: str | None = None
    """The interpreter of an environment that has it; null: our own."""


class PeersConfig(Section):
    """What the `peers` group compares, and on what terms."""

    factors: Positive
    """Length of all embeddings."""
    epochs: Positive
    """Passes over the training ratings at most."""
    target_rmse: Annotated[float, Field(gt=0)]
    """Validation RMSE to be reached."""
    cornac: PeerConfig
    surprise: PeerConfig
    libmf: PeerConfig
    fastai: PeerConfig


class ScaleConfig(Section):
    """Sizes of the `scale` group."""

    factors: Positive
    """Length of all embeddings."""
    small_items: Positive
    """Items of the small catalogue."""
    large_items: Positive
    """Items of the large catalogue."""
    few_ratings: Annotated[int, Field(ge=100_000)]
    """Ratings of the small data set, and of both catalogues."""
    many_ratings: Annotated[int, Field(ge=100_000)]
    """Ratings of the large data set."""


class GibbsBenchmarkConfig(Section):
    """Sizes of the `gibbs` group."""

    threads: Positive
    """Of the kernels, for a million ratings and more."""
    many_ratings: Annotated[int, Field(ge=1_000_000)] | None
    """Ratings of the large data set; null: it is left out."""
    many_sweeps: Annotated[int, Field(ge=2)]
    """Sweeps over the large data set."""


class BenchmarkConfig(Section):
    """What to measure."""

    group: Literal[
        "batches",
        "data",
        "engines",
        "gibbs",
        "inference",
        "inspection",
        "one_hot",
        "peers",
        "plan",
        "ranks",
        "scale",
        "startup",
        "tuning",
    ]
    """The module of benchmarks."""
    repeats: Positive
    """Paired runs, of which the medians are reported."""
    threads: Positive
    """Threads of torch."""
    against: str | None = None
    """Root of another checkout, whose speeds are measured beside ours."""
    peers: PeersConfig
    scale: ScaleConfig
    gibbs: GibbsBenchmarkConfig


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


class ScreenshotsConfig(Section):
    """Which run to photograph."""

    run: RunPath
    """The run directory."""
    output: str
    """Folder of the pictures."""
