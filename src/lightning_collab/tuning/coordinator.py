"""Who takes which trial, and when a study is done."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lightning_collab.errors import LightningCollabError
from lightning_collab.tuning.processes import StaleTrialDetector, Worker
from lightning_collab.tuning.storage import trial_id_of
from lightning_collab.tuning.trials import ENDED_WELL, Attribute, Progress, failed_by_itself

FINISHER = "finisher"


class StudyFailedError(LightningCollabError):
    """No trial of a study ended well."""


class Wait:
    """All trials are taken, but some have not ended; one of them may yet have to be repeated."""


@dataclass
class Coordinator:
    """Hands out trials so that exactly `n_trials` end by themselves, whoever asks.

    Every decision is made under the storage's lock, from what the storage says alone: a worker may
    be a thread of this process, or run on another machine, or be killed at any point.

    Attributes:
        study: as opened.
        storage: of the study, which all workers share.
        lock: makes the lock of the storage.
        distributions: what is asked of each trial.
        sampler: makes the sampler of a trial from its number.
        n_trials: trials in all.
        max_failures: as in `StudySettings`.
        run: a name for this start of the sweep.
        detector: decides which trials are stale.
    """

    study: optuna.Study
    storage: BaseStorage
    lock: Callable[[], AbstractContextManager[object]]
    distributions: dict[str, optuna.distributions.BaseDistribution]
    sampler: Callable[[int], BaseSampler]
    n_trials: int
    max_failures: int
    run: str
    detector: StaleTrialDetector

    def claim(self) -> optuna.Trial | Wait | None:
        """The next trial, with parameters drawn and our name in it; None: the study is done.

        Raises:
            StudyFailedError: trials fail and none ends well.
        """
        with self.lock():
            self._recover()
            trials = self._trials()
            self._give_up_if_hopeless(trials)
            progress = Progress.of(trials)
            if progress.ended >= self.n_trials:
                return None
            if progress.ended + progress.running >= self.n_trials:
                return Wait()
            waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
            self.study.sampler = self.sampler(min(waiting, default=len(trials)))
            trial = self.study.ask(self.distributions)
            trial.set_user_attr(Attribute.RUN, self.run)
            trial.set_user_attr(Attribute.HEARTBEAT, Worker.this().signed())
            return trial

    def interrupt(self, number: int) -> None:
        """Put back a trial of ours that we cannot end: its parameters are tried again later."""
        with self.lock():
            for trial in self._trials():
                if trial.number == number and trial.state == TrialState.RUNNING:
                    self._retry(trial)

    def claim_finish(self) -> bool:
        """Whether it is for us to finish the study; never for two at a time."""
        with self.lock():
            sign = self.study.user_attrs.get(FINISHER)
            mine = Worker.this()
            mine_already = sign and (sign["machine"], sign["pid"]) == (mine.machine, mine.pid)
            # -1 is the number of no trial, so the stale-trial detector can tell the finisher apart.
            if sign and not mine_already and not self.detector.is_stale(-1, sign):
                return False
            self.study.set_user_attr(FINISHER, mine.signed())
            return True

    def release_finish(self) -> None:
        """Let a later start of the sweep finish again."""
        self.study.set_user_attr(FINISHER, None)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _recover(self) -> None:
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and self.detector.is_stale(
                trial.number, trial.user_attrs.get(Attribute.HEARTBEAT)
            ):
                self._retry(trial)

    def _retry(self, trial: FrozenTrial) -> None:
        # In an order in which a kill between any two steps is made good by doing it all again.
        again = self._retry_of(trial.number)
        if again is None:
            self.study.enqueue_trial(trial.params, user_attrs={Attribute.RETRY_OF: trial.number})
            again = self._retry_of(trial.number)
            assert again is not None
        number = trial_id_of(self.storage, self.study.study_name, trial.number)
        self.storage.set_trial_user_attr(number, Attribute.INTERRUPTED, True)
        self.storage.set_trial_user_attr(number, Attribute.RETRIED_BY, again)
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _retry_of(self, number: int) -> int | None:
        for trial in reversed(self._trials()):
            if trial.user_attrs.get(Attribute.RETRY_OF) == number:
                return trial.number
        return None

    def _give_up_if_hopeless(self, trials: Sequence[FrozenTrial]) -> None:
        if any(trial.state in ENDED_WELL for trial in trials):
            return
        failures = [
            trial
            for trial in trials
            if failed_by_itself(trial) and trial.user_attrs.get(Attribute.RUN) == self.run
        ]
        if len(failures) >= min(self.max_failures, self.n_trials):
            raise StudyFailedError(
                f"{len(failures)} trials failed and none ended well, so the study stops. The first "
                f"error:\n{first_error(failures)}"
            )


def first_error(trials: Sequence[FrozenTrial]) -> str | None:
    """Why the first trial that failed on its own did."""
    for trial in trials:
        if trial.state == TrialState.FAIL and Attribute.ERROR in trial.user_attrs:
            where = trial.user_attrs.get(Attribute.DIRECTORY)
            return f"trial {trial.number}: {trial.user_attrs[Attribute.ERROR]}" + (
                f"\n(more in {where})" if where else ""
            )
    return None
