"""Losses that rank: fused steps beside autograd and other packages, and what ranking costs.

On made-up interactions of the shape of MovieLens 1M.
"""

import json
import logging
import statistics
import subprocess
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from benchmarks.config import RankingBenchmarkConfig
from benchmarks.engines import Measured, Seconds, in_turn
from benchmarks.epochs import EpochClock, StepClock, bare_trainer, epoch_seconds
from benchmarks.peers import bpr_runner
from benchmarks.peers.environments import environment_of
from benchmarks.processes import environment
from lightning_collab.config import RunConfig
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import build_module, load_data

SHAPE = ("data=synthetic", "data.users=6040", "data.items=3700")
SILENT = ("logger=none", "callbacks.projector=null")
PEERS = ("cornac", "implicit")
# As the other packages train: plain steps on single triples.
PLAIN = (
    *("loss=bpr", "data.order=by_user", "data.batch_size=1", "optimizer=sgd"),
    # Cornac draws all items alike, implicit those of a chosen pair.
    "loss.popularity_power=0",
    *("optimizer.momentum=0", "optimizer.decay=per_row", "optimizer.lr=0.05"),
    "optimizer.weight_decay=0.01",
)
# The first warms up.
EPOCHS = 3

AIMS = {
    "ranking/softmax_steps/fused_over_eager": "at least 2.5, better 3.5",
    "ranking/softmax_steps/share_of_products_alone": "better 0.75",
    "ranking/bpr_by_user/ours_over_cornac": "at least 2, better 2.5",
    "ranking/bpr_by_user/ours_over_implicit": "at least 2, better 2.5",
    "ranking/validation/all_users_share_of_epoch": "at most 0.6",
    "ranking/validation/1000_users_share_of_epoch": "at most 0.2",
}


class ValidationClock(pl.Callback):
    """Seconds of each validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self._since)


def run(repeats: int, settings: RankingBenchmarkConfig) -> Measured:
    """Measure what there is, in turn.

    Args:
        repeats: rounds, in each of which everything of a case is measured once; medians are taken,
            of ratios within each round.
        settings: sizes, and where other packages are.

    Returns:
        `ranking/softmax_steps/...`: seconds of the steps of an epoch, by either engine and of their
        three matrix products alone; `ranking/bpr_by_user/...`: seconds of an epoch, drawing
        included, or in words why a package was not measured; `ranking/validation/...`: seconds
        and shares of an epoch of softmax.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    size = (f"data.ratings={settings.interactions}", f"model.factors={settings.factors}")
    common = (*SHAPE, *size, *SILENT)
    return (
        _softmax(composed_run(*common, "loss=softmax"), repeats)
        | _bpr(
            composed_run(*common, *PLAIN),
            composed_run(*common, "loss=bpr", "data.order=by_user"),
            repeats,
            settings,
        )
        | _validation(common, repeats)
    )


def _with_engine(config: RunConfig, engine: str) -> RunConfig:
    training = config.training.model_copy(update={"engine": engine})
    return config.model_copy(update={"training": training})


def _softmax(config: RunConfig, repeats: int) -> Measured:
    name = "ranking/softmax_steps"
    data = load_data(config)
    ways: dict[str, Seconds] = {
        "fused": partial(step_seconds, _with_engine(config, "fused"), data),
        "eager": partial(step_seconds, _with_engine(config, "eager"), data),
        "products_alone": partial(product_seconds, config, data),
    }
    step_seconds(_with_engine(config, "fused"), data)  # compiles
    result: Measured = {**in_turn(name, ways, repeats)}
    # Less than 1, since the products are a part of the steps.
    result[f"{name}/share_of_products_alone"] = result.pop(f"{name}/fused_over_products_alone")
    return result


def step_seconds(config: RunConfig, data: RatingDataModule) -> float:
    """Seconds of the optimizer steps of an epoch, the first one left out."""
    clock = StepClock()
    epoch_seconds(config, data, EPOCHS, clock)
    each = len(clock.seconds) // EPOCHS
    return statistics.median(sum(clock.seconds[n * each :][:each]) for n in range(1, EPOCHS))


def product_seconds(config: RunConfig, data: RatingDataModule) -> float:
    """Seconds of the three matrix products of each batch of an epoch, into memory that is there."""
    assert config.batch_size != "full"
    users, items = len(data.user_vocabulary) - 1, len(data.item_vocabulary) - 1
    size, width = config.batch_size, config.model.factors
    p, q = torch.randn(size, width), torch.randn(items, width)
    of_p, of_q, scores = torch.empty_like(p), torch.empty_like(q), torch.empty(size, items)

    def products() -> None:
        torch.mm(p, q.T, out=scores)
        torch.mm(scores, q, out=of_p)
        torch.mm(scores.T, p, out=of_q)

    products()
    started = time.perf_counter()
    for _ in range(-(-users // size)):
        products()
    return time.perf_counter() - started


def _bpr(
    config: RunConfig, by_adam: RunConfig, repeats: int, settings: RankingBenchmarkConfig
) -> Measured:
    name = "ranking/bpr_by_user"
    data = load_data(config)
    ways: dict[str, Seconds] = {
        "ours": partial(epoch_seconds, config, data, EPOCHS),
        "ours_by_adam": partial(epoch_seconds, by_adam, load_data(by_adam), EPOCHS),
    }
    for way in ways.values():
        way()  # compiles
    absent: Measured = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs, options = Path(folder) / "pairs.npz", Path(folder) / "settings.json"
        train = data.columns(data.rows.train)
        np.savez(pairs, users=train.users - 1, items=train.items - 1)
        threads = torch.get_num_threads()
        options.write_text(json.dumps({"factors": settings.factors, "threads": threads}))
        for package in PEERS:
            there = environment_of(package, getattr(settings, package).python)
            if there.python is None:
                absent[f"{name}/{package}/absent"] = there.problem
            else:
                ways[package] = partial(_peer_seconds, there.python, package, pairs, options)
        return {**in_turn(name, ways, repeats), **absent}


def _peer_seconds(python: str, package: str, pairs: Path, options: Path) -> float:
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [python, bpr_runner.__file__, package, str(pairs), str(options)],
        env=environment(OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{package} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _validation(common: tuple[str, ...], repeats: int) -> Measured:
    """Rankings of the validation part after each epoch, beside the epoch itself."""
    result: Measured = {}
    cases = {"all_users": (), "1000_users": ("metrics.users=1000",)}
    configs = {
        case: composed_run(*common, "loss=softmax", *further) for case, further in cases.items()
    }
    data = load_data(configs["all_users"])
    rounds = [
        {case: validation_seconds(config, data) for case, config in configs.items()}
        for _ in range(repeats)
    ]
    for case in cases:
        name = f"ranking/validation/{case}"
        result[f"{name}_seconds"] = statistics.median(each[case][0] for each in rounds)
        result[f"{name}_share_of_epoch"] = statistics.median(
            each[case][0] / each[case][1] for each in rounds
        )
    return result


def validation_seconds(config: RunConfig, data: RatingDataModule) -> tuple[float, float]:
    """Median seconds of a validation, and of a training epoch; the first of each is left out."""
    clock, epochs = ValidationClock(), EpochClock()
    trainer = bare_trainer(EPOCHS, clock, epochs, limit_val_batches=1.0, num_sanity_val_steps=0)
    trainer.fit(build_module(config, data), datamodule=data)
    training = [each - ranked for each, ranked in zip(epochs.seconds, clock.seconds, strict=True)]
    return statistics.median(clock.seconds[1:]), statistics.median(training[1:])
