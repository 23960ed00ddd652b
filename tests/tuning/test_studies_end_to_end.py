"""Studies as a person runs them: launchers, storages, ranks, kills."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest
import yaml
from optuna.trial import TrialState
from support import REPOSITORY, composed

from lightning_collab.tuning.report import write_study_report
from lightning_collab.tuning.storage import StorageURL
from lightning_collab.tuning.trials import Attribute, Progress

SMALL = (
    "sweep=dot_bias",
    "data=synthetic",
    "data.ratings=2000",
    "data.batch_size=choice(64,128)",
    "model.factors=int(interval(2,8))",
    "trainer.max_epochs=5",
    "hydra/sweeper/pruner=median",
    "hydra.sweeper.pruner.n_warmup_steps=1",
    "hydra.sweeper.pruner.n_min_trials=2",
    "hydra.sweeper.pruner.n_startup_trials=2",
    # Two that learn and one that hardly does, so that this is pruned whatever is drawn.
    "hydra.sweeper.first_trials="
    "[{optimizer.lr:0.02},{optimizer.lr:0.015},{optimizer.lr:0.0005,optimizer.weight_decay:0.3}]",
    "trainer.log_every_n_steps=1",
)
# The same, where trials differ in rates, decays and seeds alone.
RATES = (
    "sweep=dot_bias_rates",
    *(each for each in SMALL[1:] if not each.startswith(("data.batch_size", "model.factors"))),
    "data.batch_size=64",
    "hydra.sweeper.batched=true",
    "hydra.sweeper.trials_per_batch=4",
)
WHERE = "hydra.sweep.dir=sweep"
NO_WINNER = "hydra.sweeper.retrain_winner=false"


def trials_in(tmp_path: Path, address: str | None = None):
    url = StorageURL.parse(address, tmp_path / "sweep")
    [study] = optuna.get_all_study_names(storage=url.open())
    return optuna.load_study(study_name=study, storage=url.open()).get_trials()


def check(trials, n_trials):
    """Exactly as many as wanted, each with parameters of its own and a directory of its own."""
    progress = Progress.of(trials)
    assert progress.ended == n_trials
    assert progress.failed == progress.running == 0
    counted = [trial for trial in trials if Attribute.INTERRUPTED not in trial.user_attrs]
    assert len(counted) == n_trials
    assert len({json.dumps(trial.params) for trial in counted}) == n_trials
    assert len({trial.user_attrs["directory"] for trial in counted}) == n_trials


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "scripts" / "train.py"), "-m", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_study_prunes_ends_with_a_winner_and_can_be_reported_again(run_script, tmp_path):
    done = run_script("train.py", "-m", *SMALL, WHERE, "hydra.sweeper.n_trials=10")
    assert done.returncode == 0, done.stderr
    trials = trials_in(tmp_path)
    check(trials, 10)
    progress = Progress.of(trials)
    assert progress.pruned >= 1
    sweep = tmp_path / "sweep"
    # The config's own values, but those that are given, come first.
    own = composed("sweep=dot_bias")["optimizer"]["weight_decay"]
    assert trials[0].params["optimizer.weight_decay"] == own
    assert [trial.params["optimizer.lr"] for trial in trials[:3]] == [0.02, 0.015, 0.0005]
    assert trials[2].state == TrialState.PRUNED
    for trial in trials:
        metrics = trial.user_attrs["metrics"]
        assert not [key for key in metrics if key.startswith("test/")]
        kept = json.loads((sweep / str(trial.number) / "trial.json").read_text())
        assert kept["state"] == trial.state.name.lower()
    # Only the winner is tested.
    assert not [
        path
        for path in sweep.glob("*/metrics.json")
        if path.parent.name != "winner" and "test/rmse" in path.read_text()
    ]
    winner = json.loads((sweep / "winner" / "metrics.json").read_text())
    best = min(trial.value for trial in trials if trial.state == TrialState.COMPLETE)
    assert winner["val/rmse"] == pytest.approx(best)
    assert winner["test/rmse"] > 0
    rows = list(csv.DictReader((sweep / "trials.csv").open()))
    assert [row["state"] for row in rows] == [trial.state.name for trial in trials]
    assert yaml.safe_load((sweep / "best.yaml").read_text())["trainer"]["max_epochs"] == 5
    page = (sweep / "report.html").read_text()
    for words in ("Optimization history", "Importance", "Parallel", "Slices", "epochs not trained"):
        assert words in page
    for name in ("history", "importance", "parallel", "slices", "learning_curves"):
        assert (sweep / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    events = list((sweep / "tensorboard").glob("trial-*/events*"))
    assert len(events) == 10
    # The page comes from the sweep's directory alone.
    (sweep / "report.html").unlink()
    assert write_study_report(sweep).read_text() == page


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_parallel_launchers_share_the_study(launcher, run_script, tmp_path):
    if launcher == "ray":
        pytest.importorskip("ray", reason="needs the extra: lightning-collab[ray]")
    arguments = (f"hydra/launcher={launcher}", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=9")
    # Trials that last longer than one worker may start after the other.
    lasting = [each.replace("=2000", "=100000") for each in SMALL]
    done = run_script("train.py", "-m", *lasting, WHERE, NO_WINNER, *arguments)
    assert done.returncode == 0, done.stderr
    trials = trials_in(tmp_path)
    check(trials, 9)
    assert Progress.of(trials).pruned >= 1
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials}) == 2


@pytest.mark.slow
def test_several_ranks_run_each_trial_once(run_script, tmp_path):
    arguments = ("trainer=ddp_cpu", "trainer.devices=2", "hydra.sweeper.n_trials=4", NO_WINNER)
    done = run_script("train.py", "-m", *SMALL, WHERE, *arguments)
    assert done.returncode == 0, done.stderr
    trials = trials_in(tmp_path)
    check(trials, 4)
    # A pruned trial stops on both ranks.
    assert Progress.of(trials).pruned >= 1
    for trial in trials:
        assert next(iter(trial.intermediate_values)) == 1
        said = (tmp_path / "sweep" / str(trial.number) / "output.log").read_text()
        assert said.count("MEMBER: 1/2") == said.count("MEMBER: 2/2") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "jobs"),
    [(SMALL, ()), (SMALL, ("hydra/launcher=joblib", "hydra.sweeper.n_jobs=2")), (RATES, ())],
    ids=["one by one", "two processes", "batched"],
)
def test_a_study_that_was_killed_goes_on_with_the_same_command(study, jobs, tmp_path):
    command = (*study, WHERE, NO_WINNER, "hydra.sweeper.n_trials=8", *jobs)
    first = start(tmp_path, *command)
    journal = tmp_path / "sweep" / "study.log"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()
        # The file is there a moment before the study is in it.
        if journal.is_file() and b"\n" in journal.read_bytes():
            progress = Progress.of(trials_in(tmp_path))
            if progress.ended >= 2 and progress.running:
                break
        time.sleep(0.02)
    # Only the main process: its workers notice.
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = start(tmp_path, *command)
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    trials = trials_in(tmp_path)
    check(trials, 8)
    for lost in trials:
        if Attribute.INTERRUPTED in lost.user_attrs:
            again = trials[lost.user_attrs[Attribute.RETRIED_BY]]
            assert again.user_attrs[Attribute.RETRY_OF] == lost.number
            # All that was drawn when it was killed.
            assert lost.params.items() <= again.params.items()
    if not jobs:
        assert Progress.of(trials).interrupted >= 1
    rows = list(csv.DictReader((tmp_path / "sweep" / "trials.csv").open()))
    assert [row["retried_by"] != "" for row in rows] == [
        row["state"] == "INTERRUPTED" for row in rows
    ]


@pytest.mark.slow
def test_a_batched_study_looks_like_any_other(run_script, tmp_path):
    several = (
        *(each for each in RATES if not each.startswith("hydra.sweeper.pruner.")),
        *("hydra.sweeper.n_trials=10", "hydra/sweeper/pruner=none"),
    )
    batched = run_script("train.py", *several, WHERE)
    assert batched.returncode == 0, batched.stderr
    trials = trials_in(tmp_path)
    check(trials, 10)
    # One by one, each trial has the same numbers.
    typed = [
        [f"{key}={value}" for key, value in trial.user_attrs["overrides"].items()]
        for trial in trials[1:3]
    ]
    fixed = ("data=synthetic", "data.ratings=2000", "data.batch_size=64", "trainer.max_epochs=5")
    for number, overrides in enumerate(typed, 1):
        alone = run_script("train.py", *fixed, *overrides, f"hydra.run.dir=alone{number}")
        assert alone.returncode == 0, alone.stderr
        metrics = json.loads((tmp_path / f"alone{number}" / "metrics.json").read_text())
        assert metrics["val/rmse"] == trials[number].user_attrs["metrics"]["val/rmse"]
    sweep = tmp_path / "sweep"
    winner = json.loads((sweep / "winner" / "metrics.json").read_text())
    assert winner["val/rmse"] == min(trial.value for trial in trials)
    for trial in trials:
        kept = json.loads((sweep / str(trial.number) / "trial.json").read_text())
        assert kept["state"] == "complete"
        assert (sweep / str(trial.number) / "checkpoints" / "best.ckpt").is_file()
    assert yaml.safe_load((sweep / "best.yaml").read_text())["trainer"]["max_epochs"] == 5
    assert "Optimization history" in (sweep / "report.html").read_text()


TWO_WORKERS = ("hydra/launcher=joblib", "hydra.sweeper.n_jobs=2")


@pytest.mark.slow
def test_a_worker_that_is_killed_does_not_end_the_study(tmp_path):
    command = (*SMALL, WHERE, NO_WINNER, "hydra.sweeper.n_trials=6", *TWO_WORKERS)
    process = start(tmp_path, *command)
    deadline = time.monotonic() + 120
    killed = None
    while killed is None and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if (tmp_path / "sweep" / "study.log").is_file():
            with suppress(KeyError, ValueError):
                running = [t for t in trials_in(tmp_path) if t.state == TrialState.RUNNING]
                pids = [t.user_attrs["worker"]["pid"] for t in running if "worker" in t.user_attrs]
                if pids:
                    killed = pids[0]
                    os.kill(killed, signal.SIGKILL)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "a worker process was killed; new ones take up its trial" in errors
    trials = trials_in(tmp_path)
    check(trials, 6)
    assert [t for t in trials if t.user_attrs["worker"]["pid"] == killed]


@pytest.mark.slow
def test_no_process_outlives_a_study_that_is_killed(tmp_path):
    """At ten moments, from the start of Python to the midst of trials."""
    for number, moment in enumerate(np.linspace(0.5, 14, 10)):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = (*SMALL, WHERE, NO_WINNER, "hydra.sweeper.n_trials=500", *TWO_WORKERS)
        process = start(folder, *command)
        started = set()
        end = time.monotonic() + moment
        while time.monotonic() < end:
            with suppress(psutil.Error):
                started |= set(psutil.Process(process.pid).children(recursive=True))
            time.sleep(0.05)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs(started, timeout=10)
        assert not alive, (moment, [each.cmdline() for each in alive])


@pytest.mark.slow
def test_ctrl_c_puts_the_trial_back(tmp_path):
    command = (*SMALL, WHERE, NO_WINNER, "hydra.sweeper.n_trials=3", "trainer.max_epochs=200")
    first = start(tmp_path, *command)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and first.poll() is None:
        if (tmp_path / "sweep" / "0" / "checkpoints" / "last.ckpt").is_file():
            break
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "error: stopped; run the same command again to continue" in errors
    lost, *_, again = trials_in(tmp_path)
    assert lost.user_attrs[Attribute.RETRIED_BY] == again.number
    assert again.state == TrialState.WAITING


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_processes_share_one_study(kind, tmp_path, request):
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/study.db"
    else:
        url = request.getfixturevalue("postgresql_url")
    command = (
        *SMALL,
        f"hydra.sweeper.storage='{url}'",
        "hydra.sweeper.study_name=shared",
        "hydra.sweeper.n_trials=9",
    )
    processes = [start(tmp_path, *command, f"hydra.sweep.dir=sweep{n}") for n in range(2)]
    results = [(*each.communicate(timeout=280), each.returncode) for each in processes]
    for _, errors, code in results:
        assert code == 0, errors
    trials = trials_in(tmp_path, url)
    check(trials, 9)
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials}) == 2
    # One of them trains the winner and writes the page.
    [sweep] = [each for each in tmp_path.glob("sweep?") if (each / "winner").is_dir()]
    assert len(list(csv.DictReader((sweep / "trials.csv").open()))) == len(trials)
    # And the page can be made again without the storage; a password is nowhere.
    (tmp_path / "study.db").unlink(missing_ok=True)
    assert "Optimization history" in write_study_report(sweep).read_text()
    for path in tmp_path.glob("sweep?/**/*"):
        if path.suffix in {".yaml", ".json", ".html", ".log", ".csv"}:
            text = path.read_text(errors="replace")
            assert "a%3Ap%40ss" not in text
            assert "a:p@ss" not in text
