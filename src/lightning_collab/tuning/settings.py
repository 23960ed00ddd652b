"""`conf/hydra/sweeper`: what a sweep can be told, and the samplers and pruners that it names."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import optuna
from hydra.errors import HydraException
from hydra.utils import instantiate
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field, model_validator

from lightning_collab.config import RunConfig
from lightning_collab.config.section import Section, checked
from lightning_collab.errors import ConfigError
from lightning_collab.tuning.search_space import SearchSpace

Direction = Literal["minimize", "maximize"]
Settings = TypeVar("Settings", bound=Section)

# Of runs whose monitored metric cannot be asked for.
USUAL_OBJECTIVE = "val/rmse"


def usual_objective(config: RunConfig) -> str:
    """The metric of the validation part that picks a run's best checkpoint.

    Args:
        config: of the run.
    """
    return config.monitor or USUAL_OBJECTIVE


def best_end(config: RunConfig, objective: str) -> Direction:
    """Whether more or less of a metric is better.

    Args:
        config: of a run that measures it.
        objective: the metric.
    """
    usual = objective == config.monitor
    mode = config.monitor_mode if usual else config.metrics.mode(objective)
    return "maximize" if mode == "max" else "minimize"


class GridSettings(Section):
    """`hydra/sweeper=grid`: every combination, one run each."""

    # Overrides that are swept beside those of the command line.
    params: dict[str, Any]
    # The metric that sorts the summary; null: the one that picks the best checkpoint.
    objective: str | None
    # Which end of the objective is best; null: the one that is best of the metric.
    direction: Direction | None
    # Whether the first job that fails ends the sweep.
    fail_fast: bool

    def beside(self, config: RunConfig | None) -> Self:
        """The same with what is left open taken from a run.

        Args:
            config: of one of the jobs; None: the jobs are no runs of train.
        """
        if config is None:
            objective, direction = self.objective or USUAL_OBJECTIVE, self.direction or "minimize"
        else:
            objective = self.objective or usual_objective(config)
            direction = self.direction or best_end(config, objective)
        return self.model_copy(update={"objective": objective, "direction": direction})


class StudySettings(Section):
    """`hydra/sweeper=optuna_study`: a study on Optuna."""

    # Name in the storage; null: the name of the sweep directory.
    study_name: str | None
    # Where trials are kept: the path of a journal file, sqlite:///..., postgresql://...; null: a
    # journal file in the sweep directory.
    storage: str | None
    # Trials in all, over all processes and resumes; interrupted ones do not count.
    n_trials: Annotated[int, Field(ge=1)]
    # Trials at a time; more than one needs a launcher that runs jobs at once.
    n_jobs: Annotated[int, Field(ge=1)]
    # Train trials that differ in numbers alone side by side on shared batches.
    batched: bool
    # How many of them the sampler is asked for at once.
    trials_per_batch: Annotated[int, Field(ge=2, le=1000)]
    # Metric or metrics of a trial, never one of the test part; null: the one that picks the best
    # checkpoint of a run.
    objective: str | list[str] | None
    # Which end is best, one for each objective; null: the one that is best of each metric.
    direction: Direction | list[Direction] | None
    # Search space: config key -> sweep in Hydra's grammar.
    params: dict[str, Any]
    # A Python function that adds to the space and derives keys; see docs/tuning.md.
    hook: str | None
    # Tried first; a parameter that is left out has the config's own value.
    first_trials: list[dict[str, Any]]
    # Seed of the sampler; each trial's draws follow from it and the trial's number.
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    # Give up after as many failures where no trial has ended well.
    max_failures: Annotated[int, Field(ge=1)]
    # Train the best config again at the end, and test it once.
    retrain_winner: bool
    # Seconds without a heartbeat after which a trial of another machine is taken for dead.
    stale_after: Annotated[float, Field(gt=0)]
    # What proposes parameters: hydra/sweeper/sampler.
    sampler: dict[str, Any]
    # What stops trials that will not win: hydra/sweeper/pruner.
    pruner: dict[str, Any]

    @property
    def objectives(self) -> list[str]:
        """The metrics, one or several; none where that is left open."""
        if self.objective is None:
            return []
        return [self.objective] if isinstance(self.objective, str) else self.objective

    @property
    def directions(self) -> list[Direction]:
        """One for each objective; none where that is left open."""
        if self.direction is None:
            return []
        if isinstance(self.direction, list):
            return self.direction
        return [self.direction] * len(self.objectives)

    def beside(self, config: RunConfig) -> Self:
        """The same with what is left open taken from a run.

        Args:
            config: of the study, without any parameter set.
        """
        objectives = self.objectives or [usual_objective(config)]
        open_ends = [best_end(config, each) for each in objectives]
        update = {"objective": objectives, "direction": self.direction or open_ends}
        return self.model_copy(update=update)

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped early."""
        return not str(self.pruner.get("_target_", "")).endswith(".NopPruner")

    @model_validator(mode="after")
    def _objectives_make_sense(self) -> Self:
        # A single end is that of the usual metric, where none is named.
        known = self.objective is not None and self.direction is not None
        several = isinstance(self.direction, list) and self.objective is None
        if (
            self.objective == []
            or several
            or (known and len(self.directions) != len(self.objectives))
        ):
            raise ValueError(
                f"objective names {len(self.objectives) or 1} metrics, direction "
                f"{len(self.directions)}"
            )
        for objective in self.objectives:
            if objective.startswith("test/"):
                raise ValueError(
                    f"objective={objective}: the test part is not looked at while tuning; "
                    "choose one of val/..."
                )
        if self.prunes and len(self.objectives) > 1:
            raise ValueError(
                "pruning needs a single objective; set hydra/sweeper/pruner=none for several"
            )
        if self.prunes and self.objectives and not self.objectives[0].startswith("val/"):
            raise ValueError(
                f"objective={self.objectives[0]} is not known before a trial has ended, so "
                "nothing can be pruned by it; set hydra/sweeper/pruner=none"
            )
        return self


def checked_settings(kind: type[Settings], node: Mapping[str, Any]) -> Settings:
    """The typed settings of a sweeper.

    Args:
        kind: of sweeper.
        node: the content of `hydra.sweeper`.

    Raises:
        ConfigError: an unknown key or a value that makes no sense.
    """
    values = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    return checked(kind, values, at="hydra.sweeper")


class GridSampler(optuna.samplers.GridSampler):
    """Every point of the grid once; the coordinator, not the sampler, ends the study."""

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Optuna's own would call `study.stop`, which there is not with ask and tell."""


def is_grid(node: dict[str, Any]) -> bool:
    """Whether a sampler's node asks for a grid."""
    return str(node.get("_target_", "")).endswith("GridSampler")


def build_sampler(node: dict[str, Any], space: SearchSpace, seed: int, number: int) -> BaseSampler:
    """The sampler that proposes the parameters of one trial.

    Its random numbers follow from the seed and the trial's number: a study that is resumed, or
    that several processes share, draws what is next and never the same again.

    Args:
        node: with the class under `_target_` and its arguments.
        space: what is searched.
        seed: of the study.
        number: of the trial.

    Raises:
        ConfigError: the node does not describe a sampler.
    """
    if str(node.get("_target_", "")).endswith("CmaEsSampler") and find_spec("cmaes") is None:
        raise ConfigError(
            "hydra/sweeper/sampler=cmaes needs: pip install 'lightning-collab[tuning]'"
        )
    # A grid is shuffled by its seed, so that all trials must have the same.
    if is_grid(node):
        further = {"seed": seed, "search_space": space.grid()}
    else:
        further = {"seed": int(np.random.SeedSequence([seed, number]).generate_state(1)[0])}
    sampler: BaseSampler = _built(node, BaseSampler, "hydra.sweeper.sampler", **further)
    return sampler


def build_pruner(node: dict[str, Any]) -> BasePruner:
    """The pruner that a node describes.

    Args:
        node: with the class under `_target_` and its arguments.

    Raises:
        ConfigError: the node does not describe a pruner.
    """
    pruner: BasePruner = _built(node, BasePruner, "hydra.sweeper.pruner")
    return pruner


def load_study(storage: BaseStorage, name: str, pruner: dict[str, Any]) -> optuna.Study:
    """A study that exists, for whoever takes its trials; the sampler is another for each trial.

    Args:
        storage: of the study.
        name: in the storage.
        pruner: its node.
    """
    drawing = optuna.samplers.RandomSampler()
    return optuna.load_study(
        study_name=name, storage=storage, sampler=drawing, pruner=build_pruner(pruner)
    )


def _built(node: dict[str, Any], kind: type[Any], key: str, **further: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            make = instantiate({**node, "_partial_": True}, _convert_="all")
            if not callable(make):
                raise TypeError("it has no _target_")
            known = inspect.signature(make.func).parameters
            built = make(**{name: value for name, value in further.items() if name in known})
    except (HydraException, TypeError, ValueError, ImportError, AttributeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"{key}: {reason}") from None
    if not isinstance(built, kind):
        raise ConfigError(f"{key}: {node.get('_target_')} is not a {kind.__name__} of Optuna")
    return built
