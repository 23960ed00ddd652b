"""From a config to its ratings, and to the module and engine that train its model."""

import logging
import os
import shutil
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple

import psutil
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.run import Engine, unsupported_reason
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError, DataError
from lightning_collab.models import DatasetStatistics, RatingModel, build_model
from lightning_collab.models.embedding_table import tables_drawn_later
from lightning_collab.training.modules.gradient_module import CompiledModule, GradientModule
from lightning_collab.training.modules.least_squares_module import LeastSquaresModule
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.schedules import Schedule

# Of a table under training: the entry, its gradient and two moments.
BYTES_AN_ENTRY = 16


def load_data(config: RunConfig, table: RatingTable | None = None) -> RatingDataModule:
    """The ratings that a config asks for, split.

    Args:
        config: of the run.
        table: the ratings of `config.data`, where they have been read before.

    Raises:
        DataError: they cannot be found or read, or the split leaves a part without rows.
    """
    return RatingDataModule(
        load_ratings(config.data) if table is None else table,
        batch_size=config.batch_size,
        split=config.split,
        seed=config.seed,
        features=config.features,
        source=config.data,
    )


def build_module(
    config: RunConfig,
    data: RatingDataModule,
    *,
    schedule: Schedule | None = None,
    to_shard: bool = False,
) -> RatingModule:
    """The model for a table's users and items, in the module that trains it.

    Args:
        config: of the run.
        data: whose vocabularies give the tables their sizes.
        schedule: of the learning rate, in place of the config's; each step is then seen by itself.
        to_shard: the tables hold nothing yet, since a trainer will split them over ranks.
    """
    torch.manual_seed(config.seed)
    statistics = DatasetStatistics.of(data)
    _check_memory(statistics, config.model.factors)
    with tables_drawn_later() if to_shard else nullcontext():
        model = build_model(config.model, statistics)
    parts: dict[str, Any] = {
        "model": model,
        "config": config,
        "rating_range": data.table.rating_range,
        "vocabularies": {"users": data.user_vocabulary, "items": data.item_vocabulary},
    }
    match model.trained_by:
        case "gibbs":
            # Its kernels take a while to import.
            from lightning_collab.training.modules.bayesian_module import BayesianModule

            return BayesianModule(features=data.features, **parts)
        case "least_squares":
            return LeastSquaresModule(**parts)
        case "gradient":
            steps = data.steps_per_epoch(config.trainer.limit_train_batches)
            return gradient_module(steps_per_epoch=steps, schedule=schedule, **parts)


def _check_memory(statistics: DatasetStatistics, factors: int) -> None:
    """Refuse tables of features that cannot be trained here."""
    width = sum(
        block.matrix.shape[1] for block in (*statistics.user_features, *statistics.item_features)
    )
    needed = width * (factors + 1) * BYTES_AN_ENTRY
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"features: more than memory allows: tables of {width:,} features by {factors} factors "
            f"need about {needed / 2**30:.1f} GiB with gradients and moments, and "
            f"{free / 2**30:.1f} GiB are free; leave blocks out, or lower model.factors"
        )


log = logging.getLogger(__name__)

COMPILERS = ("c++", "g++", "clang++")


class EngineChoice(NamedTuple):
    """What trains a run.

    Attributes:
        engine: its name.
        reason: why this one.
    """

    engine: Engine
    reason: str

    def __str__(self) -> str:
        return f"engine: {self.engine} ({self.reason})"


def choose_engine(config: RunConfig) -> EngineChoice:
    """The engine that a config asks for; under `auto`, the fastest that can.

    `auto` never compiles: that takes the better part of a minute, which most runs are shorter than.

    Args:
        config: of the run; its model is trained by gradient descent.

    Raises:
        ConfigError: this machine lacks what the engine that is asked for needs.
    """
    asked = config.training.engine
    if asked == "auto":
        return _fastest(config)
    reason = _lacking(asked, config)
    if reason is not None and asked == "compiled":
        return EngineChoice("eager", f"not compiled: {reason}")
    if reason is not None:
        raise ConfigError(f"training.engine={asked}: {reason}; set training.engine=eager")
    return EngineChoice(asked, "as the config says")


def by_autograd(config: RunConfig) -> bool:
    """Whether Lightning itself steps an optimizer with autograd's gradients.

    Args:
        config: of any run.
    """
    return config.model.by_gradient and choose_engine(config).engine != "fused"


def gradient_module(
    model: RatingModel, config: RunConfig, *, schedule: Schedule | None, **built_with: Any
) -> GradientModule:
    """The module of the engine that a config asks for.

    Args:
        model: what is trained.
        config: of the run.
        schedule: in place of the config's; each step is then seen by itself.
        built_with: see `GradientModule`.

    Raises:
        ConfigError: this machine lacks what the engine that is asked for needs.
    """
    chosen = choose_engine(config)
    if chosen.engine == "eager":
        if config.training.engine == "compiled":
            log.warning("%s", chosen)
        return GradientModule(model, config, schedule=schedule, **built_with)
    if chosen.engine == "compiled":
        return CompiledModule(model, config, schedule=schedule, **built_with)
    # numba takes a while to import.
    from lightning_collab.training.modules.fused_module import FusedModule

    module = FusedModule(model, config, schedule=schedule, **built_with)
    module.single_steps = schedule is not None
    return module


def _fastest(config: RunConfig) -> EngineChoice:
    reason = unsupported_reason("fused", config) or _lacking("fused", config)
    if reason is None:
        return EngineChoice("fused", "the fastest for this model on a CPU")
    if config.training.sgd_threads > 1:
        raise ConfigError(f"training.sgd_threads: {reason}")
    return EngineChoice("eager", reason)


def _lacking(engine: Engine, config: RunConfig) -> str | None:
    """What this machine lacks for an engine."""
    if engine == "fused":
        if find_spec("numba") is None:
            return "numba is not installed (pip install numba)"
        if config.trainer.accelerator == "auto" and torch.cuda.is_available():
            return "the fused engine is CPU-only, and trainer.accelerator=auto picks a GPU here"
    if engine == "compiled" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        return "torch.compile needs a C++ compiler, and none is installed"
    return None
