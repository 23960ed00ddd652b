"""`hydra/sweeper=optuna_study`: from a composed multirun to a finished study."""

import functools
import math
import operator
import os
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import optuna

from lightning_collab.config import RunConfig
from lightning_collab.config.compose import plain
from lightning_collab.config.run import unsupported_reason
from lightning_collab.config.section import flat
from lightning_collab.config.trainer import TrainerConfig
from lightning_collab.errors import ConfigError
from lightning_collab.training.parts import check_parts
from lightning_collab.tuning.composition import Composer, CornerTrial
from lightning_collab.tuning.coordinator import StudyFailedError
from lightning_collab.tuning.finish import finish_study
from lightning_collab.tuning.search_space import SearchSpace, load_hook, search_space
from lightning_collab.tuning.settings import (
    StudySettings,
    build_pruner,
    build_sampler,
    checked_settings,
    is_grid,
)
from lightning_collab.tuning.storage import StorageURL
from lightning_collab.tuning.study_identity import check_same, set_identity, write_study_file
from lightning_collab.tuning.sweep import Sweep, job_error, say
from lightning_collab.tuning.trial_run import needs_subprocess
from lightning_collab.tuning.trials import Progress
from lightning_collab.tuning.worker import StoppedSweepError, StudyWorker, run_parameters

# Of workers in turn, without a trial that ends.
MOST_DEATHS = 3
# What trials of a batch may differ in beside the numbers of `optimizer` and `scheduler`.
FREE = ("seed", "model.init_range", "model.range_margin", "trainer.gradient_clip_val")
# What would look at the training, or end it, between two blocks of steps.
AS_BY_DEFAULT = (
    *("devices", "num_nodes", "strategy", "accelerator", "precision", "accumulate_grad_batches"),
    *("limit_train_batches", "limit_val_batches", "fast_dev_run", "min_epochs", "max_steps"),
    *("min_steps", "max_time", "overfit_batches", "val_check_interval", "check_val_every_n_epoch"),
    *("profiler", "detect_anomaly", "barebones", "reload_dataloaders_every_n_epochs", "plugins"),
)


def run_study(sweep: Sweep, arguments: Sequence[str]) -> None:
    """Run a study to its end, or join one that others run.

    Args:
        sweep: what Hydra composed.
        arguments: overrides of the command line that are not Hydra's own.

    Raises:
        LightningCollabError: what the user can put right.
    """
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    settings = checked_settings(StudySettings, sweep.settings)
    if not sweep.trains:
        raise ConfigError("hydra/sweeper=optuna_study tunes the command train, no other")
    if settings.n_jobs > 1 and sweep.launcher_is_basic:
        raise ConfigError(
            f"hydra.sweeper.n_jobs={settings.n_jobs} needs a launcher that runs jobs at once: set "
            "hydra/launcher=joblib"
        )
    loader = sweep.hydra_context.config_loader
    space = search_space(settings.params, arguments, loader)
    composer = Composer(loader, sweep.config, space.fixed)
    base = check_space(composer, space, settings)
    settings = settings.beside(base)
    address = StorageURL.parse(settings.storage, sweep.directory)
    storage = address.open()
    sweep.pin_directory()
    name = settings.study_name or sweep.directory.name
    n_trials = settings.n_trials
    if is_grid(settings.sampler):
        n_trials = min(n_trials, math.prod(len(values) for values in space.grid().values()))
    worker = StudyWorker(
        settings=settings,
        space=space,
        address=address,
        study_name=name,
        n_trials=n_trials,
        sweep_dir=sweep.directory,
        composer=composer,
        run=uuid.uuid4().hex,
        sweeper_pid=os.getpid(),
    )
    with address.claim_lock(name):
        study = _open_study(storage, worker, base)
    write_study_file(sweep.directory, _about(worker, arguments))
    progress = Progress.of(study.get_trials(deepcopy=False))
    say(_greeting(worker, progress))
    if progress.ended < n_trials:
        _launch(sweep, worker)
    finish_study(worker)


def check_space(composer: Composer, space: SearchSpace, settings: StudySettings) -> RunConfig:
    """Refuse a search space of which some end makes no config, before the first trial.

    Args:
        composer: makes configs.
        space: what is searched.
        settings: of the study.

    Returns:
        The config without any parameter set.

    Raises:
        ConfigError: an unknown key, a value that makes no sense, or nothing to search.
    """
    base = composer.run_config({})
    if not base.split.has_val:
        raise ConfigError("tuning needs a validation part, but split.val is 0")
    hook = load_hook(settings.hook)
    if not space.distributions and hook is None:
        raise ConfigError(
            "nothing is searched: name what to try, such as "
            "'optimizer.lr=tag(log,interval(1e-3,1e-1))', or sweep=dot_bias"
        )
    build_pruner(settings.pruner)
    build_sampler(settings.sampler, space, settings.seed, number=0)
    ends = []
    for number, corner in enumerate(space.corners() if space.distributions else [{}, {}]):
        trial = CornerTrial(corner, last=number == 1)
        try:
            config = run_parameters(composer, settings.hook, trial, dict(corner))
            needs_subprocess(config)
            check_parts(config)
            ends.append(config)
        except ConfigError as error:
            raise ConfigError(f"{_hint(str(error), space)}\n(no trial was started)") from None
    if settings.batched:
        check_batched(base, ends)
    return base


def check_batched(base: RunConfig, others: Sequence[RunConfig]) -> None:
    """Refuse what cannot be trained side by side.

    Args:
        base: the study's config without any parameter set.
        others: some of its trials' configs, which show what the space and its hook change.

    Raises:
        ConfigError: the message names the key.
    """
    for config in (base, *others):
        reason = _unbatchable(config)
        if reason is not None:
            raise ConfigError(
                f"hydra.sweeper.batched=true: {reason}; change it, or set "
                "hydra.sweeper.batched=false"
            )
    ours = dict(flat(base.model_dump(mode="json")))
    for config in others:
        theirs = dict(flat(config.model_dump(mode="json")))
        for key in (*ours, *theirs):
            if ours.get(key) != theirs.get(key) and not _is_free(key, ours.get(key), theirs):
                raise ConfigError(
                    f"hydra.sweeper.batched=true: trials side by side differ in the numbers of "
                    f"optimizer and scheduler, and in {', '.join(FREE)}, but the space changes "
                    f"{key}; leave it out, or set hydra.sweeper.batched=false"
                )


def _is_free(key: str, value: Any, others: Mapping[str, Any]) -> bool:
    numbers = all(
        isinstance(each, int | float | None) and not isinstance(each, bool)
        for each in (value, others.get(key))
    )
    return numbers and (key in FREE or key.startswith(("optimizer.", "scheduler.")))


def _unbatchable(config: RunConfig) -> str | None:
    """Why a run cannot be trained beside others, naming the key."""
    if not config.model.by_gradient:
        return f"model={config.model.name} is not trained by steps of gradient descent"
    if config.ranks:
        return f"loss={config.loss.name} ranks, and its steps are not taken side by side"
    if config.model.fused_ids_only:
        return f"model={config.model.name} has kernels that take one trial's steps alone"
    if config.features:
        return "features are mapped anew in each step of each trial"
    given = TrainerConfig()
    for key in AS_BY_DEFAULT:
        if getattr(config.trainer, key) != getattr(given, key):
            return f"trainer.{key}={getattr(config.trainer, key)} is for trials one by one"
    if config.training.engine not in ("auto", "fused"):
        return f"training.engine={config.training.engine} takes its steps alone"
    if config.training.sgd_threads > 1:
        return f"training.sgd_threads={config.training.sgd_threads}, but each trial has one thread"
    for key, asked in (
        ("find_lr", config.find_lr),
        ("init_from", config.init_from is not None),
        ("averaging", config.averaging.name != "none"),
        ("callbacks.further", bool(config.callbacks.further)),
    ):
        if asked:
            return f"{key} is for trials one by one"
    return unsupported_reason("fused", config)


def _hint(message: str, space: SearchSpace) -> str:
    """Say how to search whole numbers, where a key wants one and the interval has none."""
    lines = [message.replace("invalid config", "the search space does not fit the config")]
    for name, distribution in space.distributions.items():
        if isinstance(distribution, optuna.distributions.FloatDistribution) and (
            f"{name}: input should be a valid integer" in message
        ):
            low, high = distribution.low, distribution.high
            lines.append(f"  for whole numbers write {name}=int(interval({low:g}, {high:g}))")
    return "\n".join(lines)


def _open_study(
    storage: optuna.storages.BaseStorage, worker: StudyWorker, base: RunConfig
) -> optuna.Study:
    name, settings, space = worker.study_name, worker.settings, worker.space
    if name in {each.study_name for each in storage.get_all_studies()}:
        study = optuna.load_study(study_name=name, storage=storage)
        check_same(study, settings, space, base)
        return study
    directions = list(settings.directions)
    study = optuna.create_study(study_name=name, storage=storage, directions=directions)
    study.set_metric_names(settings.objectives)
    set_identity(study, settings, space, base)
    if not is_grid(settings.sampler):
        for values in first_trials(settings, space, plain(worker.composer.compose({}))):
            study.enqueue_trial(values)
    return study


def first_trials(
    settings: StudySettings, space: SearchSpace, config: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Parameters to try before the sampler proposes any.

    Args:
        settings: of the study.
        space: what is searched.
        config: without any parameter set, plain.

    Returns:
        For each of `first_trials` its parameters; where the config's own value of one is outside
        the space, that is said and the sampler draws it.
    """
    trials = []
    for given in settings.first_trials:
        values: dict[str, Any] = {}
        for name, distribution in space.distributions.items():
            try:
                value = given[name] if name in given else _own_value(config, name)
            except (KeyError, TypeError):
                continue  # the config leaves it out, as it may a setting of optimizer=torch
            try:
                optuna.create_trial(
                    params={name: value}, distributions={name: distribution}, value=0.0
                )
            except (ValueError, TypeError):
                say(f"note: {name}={value} is outside the space, so no trial has it")
            else:
                values[name] = value
        others = {name: given[name] for name in given if name not in space.distributions}
        trials.append(values | others)
    return trials


def _own_value(config: Mapping[str, Any], name: str) -> Any:
    """The config's value of a key; of a group its name."""
    value: Any = functools.reduce(operator.getitem, re.split("[./]", name), config)
    return value.get("name") if isinstance(value, Mapping) else value


def _launch(sweep: Sweep, worker: StudyWorker) -> None:
    """Run the workers to their end."""
    jobs = [[*worker.space.fixed, "hydra.sweep.subdir=."]] * worker.settings.n_jobs
    sweep.let_launcher_run(len(jobs))
    deaths, ended = 0, -1
    while True:
        try:
            results = sweep.launch(worker, jobs)
            break
        except KeyboardInterrupt:
            raise StoppedSweepError("stopped; run the same command again to continue") from None
        except BrokenProcessPool as error:
            # joblib ends the other workers with the one that died.
            before, ended = ended, worker.progress().ended
            deaths = deaths + 1 if ended == before else 1
            if deaths >= MOST_DEATHS:
                raise StudyFailedError(
                    f"a worker process was killed {deaths} times before a trial ended; if memory "
                    "ran out, set hydra.sweeper.n_jobs to fewer at a time"
                ) from error
            say("a worker process was killed; new ones take up its trial")
    errors = [found for result in results if (found := job_error(result)) is not None]
    # What all workers stop for is said once.
    errors.sort(key=lambda each: not isinstance(each, StudyFailedError))
    if errors:
        raise errors[0]


def _about(worker: StudyWorker, arguments: Sequence[str]) -> dict[str, Any]:
    settings = worker.settings
    return {
        "study_name": worker.study_name,
        "storage": str(worker.address),
        "n_trials": worker.n_trials,
        "objectives": settings.objectives,
        "directions": list(settings.directions),
        "overrides": list(arguments),
        "params": {key: str(value) for key, value in settings.params.items()},
        "hook": settings.hook,
        "sampler": settings.sampler,
        "pruner": settings.pruner,
        "seed": settings.seed,
    }


def _greeting(worker: StudyWorker, progress: Progress) -> str:
    address = worker.address
    place = os.path.relpath(address.url) if address.is_journal else str(address)
    where = f"study {worker.study_name} in {place}"
    if progress.ended >= worker.n_trials:
        return (
            f"{where} has its {worker.n_trials} trials already; for more raise "
            "hydra.sweeper.n_trials, for a new study set hydra.sweeper.study_name=<name>"
        )
    done = f", {progress.ended} of them done" if progress.ended else ""
    settings = worker.settings
    at_a_time = settings.n_jobs * (settings.trials_per_batch if settings.batched else 1)
    return f"{where}: {worker.n_trials} trials{done}, {at_a_time} at a time"
