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
    """How to start a package that we compare with."""

    # The interpreter of an environment that has it; null: one is made.
    python: str | None = None


class PeersConfig(Section):
    """What the `peers` group compares, and on what terms."""

    # Length of all embeddings.
    factors: Positive
    # Passes over the training ratings at most.
    epochs: Positive
    # Validation RMSE to be reached.
    target_rmse: Annotated[float, Field(gt=0)]
    cornac: PeerConfig
    surprise: PeerConfig
    libmf: PeerConfig
    fastai: PeerConfig


class ScaleConfig(Section):
    """Sizes of the `scale` group."""

    # Length of all embeddings.
    factors: Positive
    # Items of the small catalog.
    small_items: Positive
    # Items of the large catalog.
    large_items: Positive
    # Ratings of the small data set, and of both catalogs.
    few_ratings: Annotated[int, Field(ge=100_000)]
    # Ratings of the large data set.
    many_ratings: Annotated[int, Field(ge=100_000)]


class GibbsBenchmarkConfig(Section):
    """Sizes of the `gibbs` group."""

    # Of the kernels, for a million ratings and more.
    threads: Positive
    # Ratings of the large data set; null: it is left out.
    many_ratings: Annotated[int, Field(ge=1_000_000)] | None
    # Sweeps over the large data set.
    many_sweeps: Annotated[int, Field(ge=2)]


class RankingBenchmarkConfig(Section):
    """Sizes of the `ranking` group, and what it compares with."""

    # Length of all embeddings.
    factors: Positive
    # Pairs of user and item.
    interactions: Annotated[int, Field(ge=100_000)]
    cornac: PeerConfig
    implicit: PeerConfig


class WholeRunsConfig(Section):
    """What the `whole_runs` group fits, and how often."""

    # A million ratings: drawn, or MovieLens 1M; null: left out.
    million: Literal["synthetic", "ml_1m"] | None
    # 20 million ratings: drawn, or MovieLens 20M; null: left out.
    twenty_million: Literal["synthetic", "ml_20m"] | None
    # Rounds of the 20 million, in place of `repeats`.
    large_repeats: Positive
    # Which cases; null: all.
    cases: (
        list[
            Literal[
                "sgd_50",
                "sgd_100",
                "decay",
                "adam_64",
                "adam_512",
                "rank_by_least_squares",
                "rank_by_bpr",
            ]
        ]
        | None
    ) = None


class BenchmarkConfig(Section):
    """What to measure."""

    # The module of benchmarks.
    group: Literal[
        "batches",
        "data",
        "engines",
        "gibbs",
        "gpu",
        "inference",
        "inspection",
        "one_hot",
        "peers",
        "plan",
        "ranking",
        "ranks",
        "scale",
        "startup",
        "tuning",
        "whole_runs",
    ]
    # Paired runs, of which the medians are reported.
    repeats: Positive
    # Threads of torch.
    threads: Positive
    # Root of another checkout, whose speeds are measured beside ours.
    against: str | None = None
    peers: PeersConfig
    scale: ScaleConfig
    gibbs: GibbsBenchmarkConfig
    ranking: RankingBenchmarkConfig
    whole_runs: WholeRunsConfig


class ResultsConfig(Section):
    """What to measure and where to write it."""

    # Which part of the results; all: but for `peers`, which installs other packages.
    table: Literal[
        "lecture",
        "accuracy",
        "batch_sizes",
        "weight_decay",
        "ranking",
        "cold_start",
        "gibbs_settings",
        "peers",
        "all",
    ]
    # Runs of each row of a table.
    seeds: Annotated[int, Field(ge=1)]
    # Folder of the runs.
    runs: str
    # Folder of results.md and of figures/.
    docs: str


class ScreenshotsConfig(Section):
    """Which run to photograph."""

    # The run directory.
    run: RunPath
    # Folder of the pictures.
    output: str
