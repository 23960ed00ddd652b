"""How parts of your own become known by name in this process.

An installed package needs none of these: its entry points are found (docs/extending.md).
"""

from typing import TypeVar

from lightning_collab.config.registry import (
    LOSSES,
    METRICS,
    MODELS,
    SCHEDULERS,
    SOURCES,
    SPLITS,
    Registry,
)

Part = TypeVar("Part", bound=type)


def _registered(registry: Registry, part: Part) -> Part:
    registry.register(part)
    return part


def register_model(model: Part) -> Part:
    """Make a model known as `model=<name>`; a decorator, or called with the class.

    Args:
        model: a subclass of `lightning_collab.models.RatingModel` whose `config_class` is a
            subclass of `lightning_collab.config.model.ModelConfig` with `name: Literal["<name>"]`.
            It is built as `model(config, statistics)` and has a method `rate(rows, batch, effects)`
            that returns float [B] in rating units.

    Returns:
        The class.

    Raises:
        ConfigError: it breaks this contract, or the name is taken.

    Example:
        >>> @lightning_collab.register_model
        ... class Distance(RatingModel):
        ...     config_class = DistanceConfig  # doctest: +SKIP
    """
    return _registered(MODELS, model)


def register_loss(loss: Part) -> Part:
    """Make a loss known as `loss=<name>`; a decorator, or called with the class.

    Args:
        loss: a class of `lightning_collab.losses` with a `config_class`; its name is that of its
            config, or an attribute `name`.

    Returns:
        The class.

    Raises:
        ConfigError: it breaks this contract, or the name is taken.

    Example:
        >>> @lightning_collab.register_loss
        ... class Huber(PointwiseLoss):
        ...     config_class = HuberConfig  # doctest: +SKIP
    """
    return _registered(LOSSES, loss)


def register_split(split: Part) -> Part:
    """Make a split known as `split=<name>`; a decorator, or called with the class.

    Args:
        split: a subclass of `lightning_collab.config.split.SplitConfig` with
            `name: Literal["<name>"]` and a method `split(table)`, which returns a
            `lightning_collab.data.splits.SplitRows`.

    Returns:
        The class.

    Raises:
        ConfigError: it breaks this contract, or the name is taken.

    Example:
        >>> @lightning_collab.register_split
        ... class EvenUsers(SplitConfig):
        ...     name: Literal["even_users"] = "even_users"  # doctest: +SKIP
    """
    return _registered(SPLITS, split)


def register_source(source: Part) -> Part:
    """Make a source of ratings known as `data=<name>`; a decorator, or called with the class.

    Args:
        source: a subclass of `lightning_collab.config.data.DataConfig` with
            `name: Literal["<name>"]` and a method `load()`, which returns a
            `lightning_collab.data.rating_table.RatingTable`.

    Returns:
        The class.

    Raises:
        ConfigError: it breaks this contract, or the name is taken.

    Example:
        >>> @lightning_collab.register_source
        ... class Shop(DataConfig):
        ...     name: Literal["shop"] = "shop"  # doctest: +SKIP
    """
    return _registered(SOURCES, source)


def register_metric(metric: Part) -> Part:
    """Make a metric known as `metrics.further=[<name>]`; a decorator, or called with the class.

    Args:
        metric: a subclass of `torchmetrics.Metric` with an attribute `name`, made without
            arguments. `update(predicted, batch)` gets float [B], in rating units and clamped to
            the scale, and the `lightning_collab.data.batches.RatingBatch` with the true ratings;
            `compute()` returns one number. Its states are added up over ranks by torchmetrics.
            `higher_is_better` decides which end `callbacks.monitor` looks for.

    Returns:
        The class.

    Raises:
        ConfigError: it breaks this contract, or the name is taken.

    Example:
        >>> @lightning_collab.register_metric
        ... class WithinOne(Metric):
        ...     name = "within_one"  # doctest: +SKIP
    """
    return _registered(METRICS, metric)


def register_scheduler(scheduler: Part) -> Part:
    """Make a schedule known as `scheduler=<name>`; a decorator, or called with the class.

    Args:
        scheduler: a subclass of `lightning_collab.config.optimizer.SchedulerConfig` with
            `name: Literal["<name>"]` and a method
            `factors(step, *, steps_per_epoch, total_steps, lr)`, which returns float64 [n] for
            float64 [n] steps.

    Returns:
        The class.

    Raises:
        ConfigError: it breaks this contract, or the name is taken.

    Example:
        >>> @lightning_collab.register_scheduler
        ... class InverseRoot(SchedulerConfig):
        ...     name: Literal["inverse_root"] = "inverse_root"  # doctest: +SKIP
    """
    return _registered(SCHEDULERS, scheduler)
