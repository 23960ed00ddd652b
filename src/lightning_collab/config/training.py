"""`conf/training`: which engine takes the optimiser steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section

if TYPE_CHECKING:
    from lightning_collab.config.run import RunConfig

Engine = Literal["eager", "compiled", "fused"]

FUSED_MODELS = ("embedding_dot_bias", "matrix_product")
"""Models that the fused engine has kernels for."""


class TrainingConfig(Section):
    """Which engine takes the optimiser steps."""

    engine: Literal["auto", "eager", "compiled", "fused"] = "auto"
    """auto: the fastest that can do what the config asks."""
    untouched_rows: Literal["exact", "lazy"] = "exact"
    """Whether momentum and decay move rows without a rating in the batch; lazy: not."""
    sgd_threads: Annotated[int, Field(ge=1, le=127)] = 1
    """Threads that take plain SGD steps on single ratings at once, in an order of their own."""


def obstacle(engine: Engine, config: RunConfig) -> str | None:
    """Why an engine cannot do what a config asks, as far as the config alone can tell.

    Args:
        engine: which.
        config: of the run; its model is trained by gradient descent.

    Returns:
        The reason, naming the key, or None.
    """
    lazy = config.training.untouched_rows == "lazy"
    threads = config.training.sgd_threads
    if engine != "fused":
        if threads > 1:
            return f"{engine} steps come one after the other, not by training.sgd_threads={threads}"
        if lazy:
            return f"{engine} steps move every row, and training.untouched_rows=lazy forbids that"
        if engine == "compiled" and config.features:
            return "features are mapped by scipy, which torch.compile cannot see into"
        return None
    trainer = config.trainer
    if config.model.name not in FUSED_MODELS:
        return f"there are no fused kernels for model={config.model.name}"
    if config.averaging.name == "ema":
        return "fused steps come many at a time, and averaging=ema looks at each"
    if trainer.strategy == "ddp" or trainer.num_nodes > 1 or trainer.devices not in (1, "auto"):
        return f"fused steps are of one process, and trainer={trainer.name} has several"
    if trainer.accelerator == "gpu":
        return f"fused steps are of the processor, and trainer={trainer.name} is not"
    if trainer.precision not in ("32-true", "64-true"):
        return f"there are no fused kernels for trainer.precision={trainer.precision}"
    if threads > 1:
        return _obstacle_to_threads(config)
    return None


def _obstacle_to_threads(config: RunConfig) -> str | None:
    """What is not plain SGD on single ratings, which alone can be taken side by side."""
    optimizer = config.optimizer
    decays = [optimizer.weight_decay, *(group.weight_decay for _, group in optimizer.groups)]
    lazy = config.training.untouched_rows == "lazy"
    wanted = {
        "data.batch_size=1": config.batch_size == 1,
        "optimizer=sgd": optimizer.name == "sgd",
        "optimizer.momentum=0": getattr(optimizer, "momentum", 0) == 0,
        "optimizer.decay=touched_rows": optimizer.decay == "touched_rows"
        or lazy
        or not any(decays),
        "trainer.gradient_clip_val=null": config.trainer.gradient_clip_val is None,
        "features=none": not config.features,
    }
    missing = [key for key, there in wanted.items() if not there]
    if not missing:
        return None
    return f"training.sgd_threads takes plain steps on single ratings: say {' '.join(missing)}"


def check_engine(config: RunConfig) -> None:
    """Refuse an engine that cannot do what the config asks, naming the nearest that can.

    Args:
        config: of the run.

    Raises:
        ValueError: the engine that is asked for, or every one, has an obstacle.
    """
    asked = config.training.engine
    if not config.model.by_gradient:
        if config.training != TrainingConfig():
            raise ValueError(
                f"training: model={config.model.name} is solved, and takes no steps of an engine"
            )
        return
    order: tuple[Engine, ...] = ("fused", "eager", "compiled")
    able = [engine for engine in order if obstacle(engine, config) is None]
    if asked == "auto":
        if not able:
            key = "sgd_threads" if config.training.sgd_threads > 1 else "untouched_rows"
            value = getattr(config.training, key)
            raise ValueError(f"training.{key}={value}: {obstacle('fused', config)}")
        return
    reason = obstacle(asked, config)
    if reason is not None:
        instead = f"say training.engine={able[0]} or auto" if able else "no other engine can either"
        raise ValueError(f"training.engine={asked}: {reason}; {instead}")
