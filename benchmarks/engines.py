"""The engines of training against a bare loop of torch, a DataLoader and one another.

All of ours are epochs inside Lightning's Trainer, validation and files left out.
"""

import logging
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.bandwidth import MEMORY_BYTES, bytes_per_rating, bytes_per_second
from benchmarks.bare_loop import BareLoop
from benchmarks.epochs import StepClock, epoch_seconds
from benchmarks.two_threads import two_threads
from lightning_collab.config import RunConfig
from lightning_collab.config.compose import composed_run
from lightning_collab.errors import ConfigError
from lightning_collab.training.build import load_data

SILENT = ("logger=none", "callbacks.projector=null")
QUIET = (*SILENT, "scheduler=constant")
MOMENTUM_SGD = ("optimizer=sgd", "optimizer.decay=gradient", "data.batch_size=64", *QUIET)
ML_100K = ("data=ml_100k", *MOMENTUM_SGD)
LECTURE = ("data=ml_latest_small", "split=lecture", "data.edition=2016", *MOMENTUM_SGD)
HISTORY = ("experiment=ml_100k_u1_embedding_dot_bias_history", *SILENT)
FEATURES = {
    "history": HISTORY,
    "history_batch_64": (*HISTORY, "data.batch_size=64"),
    "everything": (*HISTORY, "features=everything"),
}
NET = ("data=ml_100k", "model=embedding_net", "data.batch_size=1024", *QUIET)
LARGE_BATCH = ("data=ml_100k", "optimizer=sgd", "data.batch_size=8192", *QUIET)
PER_SAMPLE = (
    "data.batch_size=1",
    "optimizer=sgd",
    "optimizer.momentum=0",
    "optimizer.lr=0.02",
    "optimizer.weight_decay=0.03",
    "optimizer.decay=per_row",
    "training.engine=fused",
    *QUIET,
)
MILLION = ("data=synthetic", "data.ratings=1000000")
LARGE_TABLES = (*MILLION, "data.users=50000", "data.items=100000")
FUSED_EPOCHS, COMPILED_EPOCHS = 8, 12

AIMS = {
    "engines/ml_100k_batch_64/fused_over_eager": "at least 9, better 12",
    "engines/lecture_batch_64/fused_over_eager": "at least 9",
    "engines/net_batch_1024/fused_over_trainer_eager": "at least 2",
    "engines/per_sample/ratings_per_second": "at least 18 million",
    "engines/batch_8192/compiled_over_eager": "at least 2",
    "engines/threads/small_tables/two_over_one": "at least 1.7",
    "engines/threads/large_tables/two_over_one": "at least 1.7",
}

# A bare loop of torch, in which nothing of ours runs.
CONTROLS = ("engines/ml_100k_batch_64/eager", "engines/lecture_batch_64/eager")

Seconds = Callable[[], float]
Measured = dict[str, float | str]


def run(repeats: int) -> Measured:
    """Measure what there is, in turn.

    Args:
        repeats: paired runs, of which medians are taken.

    Returns:
        `engines/<case>/<one>_over_<other>`: how many times as fast one is as the other, the median
        over pairs; `.../<one>_seconds`: of an epoch; `per_sample/ratings_per_second`: of the
        optimizer's steps, and `..._of_the_epoch` of all that an epoch in the Trainer takes; of the
        roofline, bytes a rating and their share of what copying reaches.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    return (
        _batch_64("engines/ml_100k_batch_64", ML_100K, repeats, with_dataloader=True)
        | _batch_64("engines/lecture_batch_64", LECTURE, repeats, with_dataloader=False)
        | _with_features(repeats)
        | _beside_eager("engines/net_batch_1024", NET, repeats)
        | _large_batch(repeats)
        | _per_sample(repeats)
        | two_threads("small_tables", (*MILLION, *PER_SAMPLE), repeats)
        | two_threads("large_tables", (*LARGE_TABLES, *PER_SAMPLE), repeats)
    )


def in_turn(name: str, ways: dict[str, Seconds], repeats: int) -> dict[str, float]:
    """Measure several ways of the same work, one after the other in each round.

    Args:
        name: of the case.
        ways: by name, what gives the seconds of a way; the first is the one that is compared.
        repeats: rounds.

    Returns:
        `<name>/<way>_seconds` and `<name>/<first>_over_<other>`, how many times as fast the first
        way is as another: medians, the ratios taken within each round.
    """
    rounds = [{way: seconds() for way, seconds in ways.items()} for _ in range(repeats)]
    first, *others = ways
    result = {
        f"{name}/{way}_seconds": statistics.median(each[way] for each in rounds) for way in ways
    }
    for other in others:
        result[f"{name}/{first}_over_{other}"] = statistics.median(
            each[other] / each[first] for each in rounds
        )
    return result


def _batch_64(
    name: str, overrides: Sequence[str], repeats: int, *, with_dataloader: bool
) -> dict[str, float]:
    fused = composed_run(*overrides, "training.engine=fused")
    eager = composed_run(*overrides, "training.engine=eager")
    data = load_data(fused)
    bare = BareLoop.of(eager, data)
    bare.epoch()
    epoch_seconds(fused, data, 2)
    ways: dict[str, Seconds] = {
        "fused": lambda: epoch_seconds(fused, data, FUSED_EPOCHS),
        "eager": lambda: bare.epoch()[0],
        "trainer_eager": lambda: epoch_seconds(eager, data, 2),
    }
    if with_dataloader:
        ways["dataloader"] = lambda: epoch_seconds(eager, data, 2, by_dataloader=True)
    return in_turn(name, ways, repeats)


def _with_features(repeats: int) -> dict[str, float]:
    """The shipped dot product that is told who rated what, and that with all else that is known."""
    result: dict[str, float] = {}
    for case, overrides in FEATURES.items():
        result |= _beside_eager(f"engines/{case}", overrides, repeats)
    return result


def _beside_eager(name: str, overrides: Sequence[str], repeats: int) -> dict[str, float]:
    fused, eager = (
        composed_run(*overrides, f"training.engine={engine}") for engine in ("fused", "eager")
    )
    data = load_data(fused)
    epoch_seconds(fused, data, 2)
    ways: dict[str, Seconds] = {
        "fused": partial(epoch_seconds, fused, data, FUSED_EPOCHS),
        "trainer_eager": partial(epoch_seconds, eager, data, 2),
    }
    return in_turn(name, ways, repeats)


def _large_batch(repeats: int) -> Measured:
    name = "engines/batch_8192"
    configs = {
        engine: composed_run(*LARGE_BATCH, f"training.engine={engine}")
        for engine in ("compiled", "eager", "fused")
    }
    data = load_data(configs["eager"])
    try:
        epoch_seconds(configs["compiled"], data, 2)
    except ConfigError as error:
        return {f"{name}/compiled_over_eager": str(error)}

    def way(config: RunConfig) -> Seconds:
        return lambda: epoch_seconds(config, data, COMPILED_EPOCHS)

    return {**in_turn(name, {each: way(config) for each, config in configs.items()}, repeats)}


def _per_sample(repeats: int) -> dict[str, float]:
    config = composed_run("data=ml_100k", *PER_SAMPLE)
    data = load_data(config)
    epoch_seconds(config, data, 2)
    ratings = len(data.rows.train)
    clocks = [StepClock() for _ in range(repeats)]
    in_trainer = [epoch_seconds(config, data, 4 * FUSED_EPOCHS, clock) for clock in clocks]
    rate = statistics.median(ratings / statistics.median(clock.seconds) for clock in clocks)
    moved = bytes_per_rating(config.model.factors)
    rows = len(data.user_vocabulary) + len(data.item_vocabulary)
    in_cache = bytes_per_second(2 * rows * (config.model.factors + 1))
    in_memory = bytes_per_second(MEMORY_BYTES)
    return {
        "engines/per_sample/ratings_per_second": rate,
        "engines/per_sample/ratings_per_second_of_the_epoch": statistics.median(
            ratings / seconds for seconds in in_trainer
        ),
        "engines/roofline/bytes_per_rating": moved,
        "engines/roofline/bytes_per_second": moved * rate,
        "engines/roofline/memory_bytes_per_second": in_memory,
        "engines/roofline/cache_bytes_per_second": in_cache,
        "engines/roofline/share_of_memory": moved * rate / in_memory,
        "engines/roofline/share_of_cache": moved * rate / in_cache,
    }
