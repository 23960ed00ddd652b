"""What pruning saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from lightning_collab.tuning.trials import MAX_EPOCHS, SECONDS, epochs_run


@dataclass(frozen=True)
class PruningSaved:
    """Epochs and seconds of the trials that counted, and what they would have been.

    Attributes:
        trials: that were completed or pruned.
        pruned: of these.
        epochs: trained.
        epochs_whole: that would have been trained without pruning.
        seconds: wall clock, summed over trials.
        seconds_saved: the epochs not trained, each as long as the trial's own on average.
    """

    trials: int
    pruned: int
    epochs: int
    epochs_whole: int
    seconds: float
    seconds_saved: float

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> "PruningSaved":
        """Add up the trials of a study."""
        counted = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        pruned = [trial for trial in counted if trial.state == TrialState.PRUNED]
        saved = 0.0
        missing = 0
        for trial in pruned:
            left = trial.user_attrs.get(MAX_EPOCHS, 0) - epochs_run(trial)
            missing += left
            saved += trial.user_attrs.get(SECONDS, 0.0) / max(1, epochs_run(trial)) * left
        epochs = sum(_epochs(trial) for trial in counted)
        return cls(
            trials=len(counted),
            pruned=len(pruned),
            epochs=epochs,
            epochs_whole=epochs + missing,
            seconds=sum(trial.user_attrs.get(SECONDS, 0.0) for trial in counted),
            seconds_saved=saved,
        )

    @property
    def share_of_trials(self) -> float:
        """Pruned trials among all."""
        return self.pruned / self.trials if self.trials else 0.0

    @property
    def share_of_epochs(self) -> float:
        """Epochs that were not trained among those that would have been."""
        return 1 - self.epochs / self.epochs_whole if self.epochs_whole else 0.0


def _epochs(trial: FrozenTrial) -> int:
    """Epochs of a trial; those of a study of several objectives report none, but end whole."""
    return epochs_run(trial) or int(trial.user_attrs.get(MAX_EPOCHS, 0))
