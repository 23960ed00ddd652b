"""`conf/training`: which engine takes the optimiser steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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


def obstacle(engine: Engine, config: RunConfig) -> str | None:
    """Why an engine cannot do what a config asks, as far as the config alone can tell.

    Args:
        engine: which.
        config: of the run; its model is trained by gradient descent.

    Returns:
        The reason, naming the key, or None.
    """
    lazy = config.training.untouched_rows == "lazy"
    if engine != "fused":
        if lazy:
            return f"{engine} steps move every row, and training.untouched_rows=lazy forbids that"
        return None
    trainer = config.trainer
    if config.model.name not in FUSED_MODELS:
        return f"there are no fused kernels for model={config.model.name}"
    if config.averaging.name == "ema":
        return "fused steps come many at a time, and averaging=ema looks at each"
    if config.features:
        return "there are no fused kernels for features"
    if trainer.strategy == "ddp" or trainer.num_nodes > 1 or trainer.devices not in (1, "auto"):
        return f"fused steps are of one process, and trainer={trainer.name} has several"
    if trainer.accelerator == "gpu":
        return f"fused steps are of the processor, and trainer={trainer.name} is not"
    if trainer.precision not in ("32-true", "64-true"):
        return f"there are no fused kernels for trainer.precision={trainer.precision}"
    return None


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
            raise ValueError(f"training.untouched_rows=lazy: {obstacle('fused', config)}")
        return
    reason = obstacle(asked, config)
    if reason is not None:
        instead = f"say training.engine={able[0]} or auto" if able else "no other engine can either"
        raise ValueError(f"training.engine={asked}: {reason}; {instead}")
