"""What tuning costs, and what pruning and trials side by side save, on MovieLens 100K."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.processes import ROOT
from lightning_collab.tuning.storage import JOURNAL_FILE
from lightning_collab.tuning.study_identity import read_study_file
from lightning_collab.tuning.trials import Attribute, PruningSaved

TRIALS = 100
SHORT_TRIALS = 20
TWO_PROCESSES = ("hydra/launcher=joblib", "hydra.sweeper.n_jobs=2")
SIDE_BY_SIDE = ("hydra.sweeper.batched=true",)


def run(repeats: int) -> dict[str, float]:
    """Measure the cost of a trial, and studies of 100 trials with and without pruning.

    The studies take as long as their trials: about half an hour a repeat on two cores.

    Args:
        repeats: seeds of the study, beginning with 0.

    Returns:
        `trial/overhead_seconds` (from one trial to the next beyond its fit: drawing, composing,
        building, measuring, telling; data are loaded),
        `study/seconds` (medians of whole commands, two trials at a time, with winner and page),
        `study/seconds_without_pruning`, `study/epochs_saved` (share; the least of the seeds),
        `study/val_rmse_lost` (winner with pruning less without; the worst of the seeds),
        `rates/seconds` and `rates/batched_seconds` (medians of whole commands of
        sweep=dot_bias_rates in two processes, and side by side in one, in turn),
        `rates/batched_share` (median of the ratios), and the default config's and the worst
        winner's numbers: `default/val_rmse`, `default/test_rmse`, `winner/val_rmse`,
        `winner/test_rmse`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = {"trial/overhead_seconds": _overhead(folder / "trials")}
        seconds, whole_seconds, saved, lost = [], [], [], []
        winners = []
        pairs = []
        for seed in range(repeats):
            pruned = _study(folder / f"pruned-{seed}", seed, "dot_bias", *TWO_PROCESSES)
            without = (*TWO_PROCESSES, "hydra/sweeper/pruner=none")
            whole = _study(folder / f"whole-{seed}", seed, "dot_bias", *without)
            pair = [
                _study(folder / f"{name}-{seed}", seed, "dot_bias_rates", *how)
                for name, how in (("apart", TWO_PROCESSES), ("batched", SIDE_BY_SIDE))
            ]
            pairs.append(pair)
            seconds.append(pruned)
            whole_seconds.append(whole)
            study = _open(folder / f"pruned-{seed}")
            saved.append(PruningSaved.of(study.get_trials()).share_of_epochs)
            lost.append(study.best_value - _open(folder / f"whole-{seed}").best_value)
            winners.append(_metrics(folder / f"pruned-{seed}" / "winner"))
        default = _default(folder / "default")
    return measured | {
        "study/seconds": statistics.median(seconds),
        "study/seconds_without_pruning": statistics.median(whole_seconds),
        "rates/seconds": statistics.median(apart for apart, _ in pairs),
        "rates/batched_seconds": statistics.median(batched for _, batched in pairs),
        "rates/batched_share": statistics.median(batched / apart for apart, batched in pairs),
        "study/epochs_saved": min(saved),
        "study/val_rmse_lost": max(lost),
        "default/val_rmse": default["val/rmse"],
        "default/test_rmse": default["test/rmse"],
        "winner/val_rmse": max(winner["val/rmse"] for winner in winners),
        "winner/test_rmse": max(winner["test/rmse"] for winner in winners),
    }


def _overhead(folder: Path) -> float:
    """Median seconds from one trial's begin to the next one's, beyond the first one's fit."""
    _train(
        "sweep=dot_bias",
        "data=ml_100k",
        "trainer.max_epochs=2",
        f"hydra.sweeper.n_trials={SHORT_TRIALS}",
        "hydra.sweeper.retrain_winner=false",
        "hydra/sweeper/pruner=none",
        f"hydra.sweep.dir={folder}",
    )
    trials = _open(folder).get_trials()
    beyond = []
    for trial, following in pairwise(trials):
        assert trial.datetime_start is not None
        assert following.datetime_start is not None
        seconds = (following.datetime_start - trial.datetime_start).total_seconds()
        beyond.append(seconds - float(trial.user_attrs[Attribute.METRICS]["fit_seconds"]))
    # The first trial loads the data.
    return statistics.median(beyond[1:])


def _study(folder: Path, seed: int, sweep: str, *how: str) -> float:
    """Run a study as a person would; its seconds."""
    started = time.perf_counter()
    _train(
        f"sweep={sweep}",
        "data=ml_100k",
        f"hydra.sweeper.n_trials={TRIALS}",
        f"hydra.sweeper.seed={seed}",
        f"hydra.sweep.dir={folder}",
        *how,
    )
    return time.perf_counter() - started


def _default(folder: Path) -> dict[str, float]:
    _train("data=ml_100k", f"hydra.run.dir={folder}")
    return _metrics(folder)


def _train(*arguments: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def _metrics(run: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((run / "metrics.json").read_text())
    return metrics


def _open(sweep_dir: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(sweep_dir / JOURNAL_FILE)))
    return optuna.load_study(study_name=read_study_file(sweep_dir)["study_name"], storage=storage)
