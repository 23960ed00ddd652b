"""A slot of a sweep: takes a trial, trains it, tells, and takes the next."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from lightning_collab.config import RunConfig
from lightning_collab.errors import ConfigError, LightningCollabError
from lightning_collab.tuning import trial_run
from lightning_collab.tuning.batched import BatchedTrial, run_batch
from lightning_collab.tuning.composition import Composer
from lightning_collab.tuning.coordinator import Coordinator, Wait
from lightning_collab.tuning.processes import StaleTrialDetector, sign_of_life
from lightning_collab.tuning.search_space import SearchSpace, load_hook
from lightning_collab.tuning.settings import StudySettings, build_sampler, load_study
from lightning_collab.tuning.storage import StorageURL
from lightning_collab.tuning.sweep import register_resolvers
from lightning_collab.tuning.trial_run import Outcome, PreparedData
from lightning_collab.tuning.trials import Attribute, Progress, shown_parameters

POLL_SECONDS = 0.5
SIGNS_BEFORE_STALE = 6
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class StoppedSweepError(LightningCollabError):
    """The sweep was stopped by Ctrl-C, or its main process has gone."""


@dataclass(frozen=True)
class StudyWorker:
    """The task function of a worker job; it travels to other processes and machines.

    Attributes:
        settings: of the study.
        space: what is searched.
        address: of the storage.
        study_name: in the storage.
        n_trials: in all; fewer than the settings' where a grid is smaller.
        sweep_dir: where trials' directories go.
        composer: makes configs.
        run: a name for this start of the sweep.
        sweeper_pid: the process that launched the workers.
    """

    settings: StudySettings
    space: SearchSpace
    address: StorageURL
    study_name: str
    n_trials: int
    sweep_dir: Path
    composer: Composer
    run: str
    sweeper_pid: int

    def __call__(self, _: Any) -> None:
        """Work until the study is done.

        Raises:
            StudyFailedError: trials fail and none ends well.
            StoppedSweepError: Ctrl-C.
        """
        register_resolvers()
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        threads = threads_each(self.settings.n_jobs)
        torch.set_num_threads(threads)
        coordinator = self.coordinator()
        parent = self.sweeper_pid if os.getppid() == self.sweeper_pid else None
        try:
            self._work(coordinator, PreparedData(), threads, parent)
        finally:
            if _has_gone(parent):
                # The sweep was killed. There is nobody to return to, and joblib's process would
                # wait for its next task for ever.
                os._exit(1)

    def _work(
        self, coordinator: Coordinator, data: PreparedData, threads: int, parent: int | None
    ) -> None:
        most = self.settings.trials_per_batch if self.settings.batched else 1
        while not _has_gone(parent):
            slots: list[_Slot] = []
            claimed: optuna.Trial | Wait | None = None
            while len(slots) < most:
                claimed = coordinator.claim()
                if not isinstance(claimed, optuna.Trial):
                    break
                slots.append(_Slot(self, coordinator, claimed, data, threads, parent))
            if slots:
                _work_on(slots)
            elif claimed is None:
                return
            else:
                time.sleep(POLL_SECONDS)

    def progress(self) -> Progress:
        """How far the study is."""
        study = load_study(self.address.open(), self.study_name, self.settings.pruner)
        return Progress.of(study.get_trials(deepcopy=False))

    def coordinator(self) -> Coordinator:
        """The study, opened."""
        storage = self.address.open()
        return Coordinator(
            load_study(storage, self.study_name, self.settings.pruner),
            storage,
            partial(self.address.claim_lock, self.study_name),
            distributions=self.space.distributions,
            sampler=partial(build_sampler, self.settings.sampler, self.space, self.settings.seed),
            n_trials=self.n_trials,
            max_failures=self.settings.max_failures,
            run=self.run,
            detector=StaleTrialDetector(self.settings.stale_after),
        )


@dataclass(frozen=True)
class _Slot:
    """One trial in a worker's hands."""

    worker: StudyWorker
    coordinator: Coordinator
    trial: optuna.Trial
    data: PreparedData
    threads: int
    parent: int | None

    @property
    def directory(self) -> Path:
        """Of the trial."""
        return self.worker.sweep_dir / str(self.trial.number)

    def run(self) -> Outcome:
        """Train the trial."""
        config = self.prepared()
        if isinstance(config, Outcome):
            return config
        if not trial_run.needs_subprocess(config):
            return trial_run.run_in_process(
                config, self.directory, self.callback(config), self.data
            )
        settings = self.worker.settings
        request = trial_run.Request(
            config.model_dump(mode="json"),
            self.worker.study_name,
            self.trial.number,
            self._objective,
            settings.pruner,
            os.getpid(),
        )
        ranks = config.trainer.devices
        threads = max(1, self.threads // (ranks if isinstance(ranks, int) else 1))
        url = self.worker.address.url
        return trial_run.run_in_subprocess(request, self.directory, url, threads)

    def prepared(self) -> RunConfig | Outcome:
        """The trial's config, and a place for it; or that there is none."""
        worker, trial = self.worker, self.trial
        try:
            overrides = dict(trial.params)
            config = run_parameters(worker.composer, worker.settings.hook, trial, overrides)
        except Exception as error:
            return Outcome("failed", error=str(error))
        config = trial_run.trial_config(config)
        self.directory.mkdir(parents=True, exist_ok=True)
        trial.set_user_attr(Attribute.OVERRIDES, overrides)
        trial.set_user_attr(Attribute.DIRECTORY, str(self.directory))
        trial.set_user_attr(Attribute.MAX_EPOCHS, config.trainer.max_epochs)
        return config

    def callback(self, config: RunConfig) -> trial_run.PruneTrial:
        """What reports on the trial."""
        report, epochs = trial_run.report_to(self.trial), config.trainer.max_epochs
        return trial_run.PruneTrial(report, self._objective, epochs, self.parent)

    @property
    def _objective(self) -> str | None:
        """What is reported after each epoch; None: nothing is."""
        objectives = self.worker.settings.objectives
        single = objectives[0] if len(objectives) == 1 else ""
        return single if single.startswith("val/") else None

    def end(self, outcome: Outcome) -> None:
        """Tell how the trial ended.

        Raises:
            StoppedSweepError: it was interrupted, and so is the sweep.
        """
        if outcome.state == "interrupted":
            self.coordinator.interrupt(self.trial.number)
            raise StoppedSweepError("stopped; run the same command again to continue")
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        trial, study = self.trial, self.coordinator.study
        values: list[float] | None = None
        if outcome.state == "complete":
            objectives = self.worker.settings.objectives
            try:
                values = [_metric(outcome.metrics, each) for each in objectives]
            except ConfigError as error:
                outcome.state, outcome.error = "failed", str(error)
        trial.set_user_attr(Attribute.SECONDS, outcome.seconds)
        trial.set_user_attr(Attribute.METRICS, outcome.metrics)
        if outcome.error is not None:
            trial.set_user_attr(Attribute.ERROR, outcome.error)
        # Where we were taken for dead, the trial is another's now.
        told = study.tell(trial.number, values, state=STATES[outcome.state], skip_if_finished=True)
        if self.directory.is_dir():
            about = {"number": trial.number, "parameters": trial.params}
            trial_run.write_outcome(outcome, self.directory, **about)
        self._say(told, outcome)

    def _say(self, told: optuna.trial.FrozenTrial, outcome: Outcome) -> None:
        study = self.coordinator.study
        progress = Progress.of(study.get_trials(deepcopy=False))
        shown = {
            "complete": ", ".join(f"{value:.4f}" for value in told.values or []),
            "pruned": f"pruned at epoch {outcome.epochs}",
            "failed": f"failed: {outcome.error.splitlines()[0] if outcome.error else ''}",
        }[outcome.state]
        best = ""
        if len(study.directions) == 1 and progress.complete:
            best = f"  best {study.best_value:.4f} (trial {study.best_trial.number})"
        line = (
            f"{progress.ended}/{self.worker.n_trials}  trial {told.number}: {shown}{best}  "
            f"{outcome.seconds:.1f} s  {shown_parameters(told.params)}"
        )
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - whole lines from many processes


def _work_on(slots: Sequence[_Slot]) -> None:
    """Train one trial, or a batch of them, and tell how each ended."""
    worker = slots[0].worker
    under_way = list(slots)

    def renew(sign: dict[str, Any]) -> None:
        for slot in list(under_way):
            slot.trial.set_user_attr(Attribute.HEARTBEAT, sign)

    def end(slot: _Slot, outcome: Outcome) -> None:
        slot.end(outcome)
        under_way.remove(slot)

    try:
        with sign_of_life(renew, worker.settings.stale_after / SIGNS_BEFORE_STALE):
            if worker.settings.batched:
                _work_on_batch(slots, end)
            else:
                outcome = slots[0].run()
        if not worker.settings.batched:
            end(slots[0], outcome)
    except (KeyboardInterrupt, StoppedSweepError):
        for slot in under_way:
            slot.coordinator.interrupt(slot.trial.number)
        raise StoppedSweepError("stopped; run the same command again to continue") from None


def _work_on_batch(slots: Sequence[_Slot], end: Callable[[_Slot, Outcome], None]) -> None:
    trials: dict[BatchedTrial, _Slot] = {}
    for slot in slots:
        config = slot.prepared()
        if isinstance(config, Outcome):
            end(slot, config)
        else:
            trials[BatchedTrial(config, slot.directory, slot.callback(config))] = slot
    if trials:
        run_batch(
            list(trials),
            slots[0].data,
            cores_each(slots[0].worker.settings.n_jobs),
            lambda trial, outcome: end(trials[trial], outcome),
        )


def run_parameters(
    composer: Composer, hook: str | None, trial: optuna.trial.BaseTrial, overrides: dict[str, Any]
) -> RunConfig:
    """The config of a trial; what a hook derives is added to `overrides`.

    Args:
        composer: makes configs.
        hook: see `StudySettings.hook`.
        trial: whose parameters are drawn.
        overrides: config key -> value of the drawn parameters that are keys.

    Raises:
        ConfigError: they do not make a config.
    """
    function = load_hook(hook)
    if function is not None:
        overrides.update(function(trial, composer.run_config(overrides)))
    return composer.run_config(overrides)


def _has_gone(parent: int | None) -> bool:
    """Whether the process that started this one has ended; None: that does not matter."""
    return parent is not None and os.getppid() != parent


def threads_each(n_jobs: int) -> int:
    """The threads that each of several jobs on this machine may use; OMP_NUM_THREADS holds too."""
    return min(cores_each(n_jobs), torch.get_num_threads())


def cores_each(n_jobs: int) -> int:
    """The share of this machine's cores that each of several jobs has; at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, cores // n_jobs)


def _metric(metrics: Mapping[str, Any], name: str) -> float:
    if not isinstance(metrics.get(name), int | float):
        known = ", ".join(key for key, value in metrics.items() if type(value) in (int, float))
        raise ConfigError(f"hydra.sweeper.objective: a trial has no number {name}; known: {known}")
    return float(metrics[name])
