"""Exactly n trials end by themselves, whoever asks and whoever dies."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import optuna
import psutil
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from lightning_collab.tuning.coordinator import Coordinator, StudyFailedError, Wait
from lightning_collab.tuning.processes import StaleTrialDetector, Worker
from lightning_collab.tuning.storage import StorageURL
from lightning_collab.tuning.trials import Attribute, Progress, ended_by_itself

SPACE = {"x": FloatDistribution(0, 1)}


def coordinator(url, n_trials, run="run", stale_after=60.0, max_failures=3):
    address = StorageURL(url)
    storage = address.open()
    study = optuna.load_study(study_name="study", storage=storage)
    return Coordinator(
        study,
        storage,
        partial(address.claim_lock, "study"),
        distributions=SPACE,
        sampler=lambda number: optuna.samplers.RandomSampler(number),
        n_trials=n_trials,
        max_failures=max_failures,
        run=run,
        detector=StaleTrialDetector(stale_after),
    )


@pytest.fixture(params=["journal", "sqlite"])
def url(request, tmp_path):
    address = StorageURL.parse(
        None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db", tmp_path
    )
    optuna.create_study(study_name="study", storage=address.open())
    return address.url


def trials_of(url):
    storage = StorageURL(url).open()
    return optuna.load_study(study_name="study", storage=storage).get_trials()


def work(url, n_trials, seed):
    """A worker that needs a moment for each trial; some of its trials fail on their own."""
    draw = random.Random(seed)
    work = coordinator(url, n_trials, stale_after=60.0)
    while (trial := work.claim()) is not None:
        if isinstance(trial, Wait):
            time.sleep(0.01)
            continue
        time.sleep(draw.random() * 0.02)
        if draw.random() < 0.2:
            trial.set_user_attr(Attribute.ERROR, "by chance")
            work.study.tell(trial.number, state=TrialState.FAIL)
        else:
            work.study.tell(trial.number, trial.params["x"])


def test_several_processes_end_exactly_as_many_trials_as_wanted(url):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(url, 12, seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    trials = trials_of(url)
    assert len(trials) == 12
    assert all(ended_by_itself(trial) for trial in trials)
    assert len({trial.params["x"] for trial in trials}) == 12


def test_a_worker_that_is_killed_leaves_a_trial_that_is_tried_again(url):
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def hang():
        coordinator(url, 3).claim()
        ready.set()
        time.sleep(60)

    worker = context.Process(target=hang)
    worker.start()
    assert ready.wait(30)
    other = coordinator(url, 3)
    # A living worker's trial is left alone.
    second = other.claim()
    assert second.number == 1
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    retried = other.claim()
    lost, _, again = trials_of(url)
    assert lost.state == TrialState.FAIL
    assert lost.user_attrs[Attribute.INTERRUPTED]
    assert lost.user_attrs[Attribute.RETRIED_BY] == retried.number == again.number == 2
    assert again.user_attrs[Attribute.RETRY_OF] == 0
    assert retried.params == lost.params
    for trial in (second, retried):
        other.study.tell(trial.number, 0.5)
    last = other.claim()
    assert last.params != lost.params
    other.study.tell(last.number, 0.5)
    assert other.claim() is None
    progress = Progress.of(trials_of(url))
    assert (progress.ended, progress.interrupted) == (3, 1)


def test_a_kill_in_the_midst_of_recovery_is_made_good(url):
    first = coordinator(url, 2)
    trial = first.claim()
    trial.set_user_attr(Attribute.HEARTBEAT, replace(Worker.this(), started=0.0).signed())
    # As if another had enqueued the retry and then died.
    first.study.enqueue_trial(trial.params, user_attrs={Attribute.RETRY_OF: trial.number})
    retried = first.claim()
    assert retried.number == 1
    assert len(trials_of(url)) == 2
    assert trials_of(url)[0].user_attrs[Attribute.RETRIED_BY] == 1


def test_the_last_worker_waits_for_what_others_still_run(url):
    one, two = coordinator(url, 1), coordinator(url, 1)
    trial = one.claim()
    assert isinstance(two.claim(), Wait)
    one.interrupt(trial.number)
    again = two.claim()
    assert again.params == trial.params
    # Whoever was taken for dead, but was not, does no harm.
    one.study.tell(trial.number, 0.0, skip_if_finished=True)
    two.study.tell(again.number, 0.5)
    assert two.claim() is None
    assert [each.state for each in trials_of(url)] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_trial_of_another_machine_is_left_alone_until_it_is_silent(url):
    one = coordinator(url, 1, stale_after=0.2)
    trial = one.claim()
    trial.set_user_attr(
        Attribute.HEARTBEAT, replace(Worker.this(), machine="elsewhere", pid=1).signed()
    )
    two = coordinator(url, 1, stale_after=0.2)
    assert isinstance(two.claim(), Wait)
    time.sleep(0.1)
    trial.set_user_attr(
        Attribute.HEARTBEAT, replace(Worker.this(), machine="elsewhere", pid=1).signed()
    )
    assert isinstance(two.claim(), Wait)
    time.sleep(0.1)
    assert isinstance(two.claim(), Wait)
    time.sleep(0.25)
    assert two.claim().params == trial.params


def fail(work, text):
    trial = work.claim()
    trial.set_user_attr(Attribute.ERROR, text)
    work.study.tell(trial.number, state=TrialState.FAIL)


def test_a_study_of_failures_ends_with_the_first_error_and_may_be_tried_again(url):
    work = coordinator(url, 10)
    for text in ("first", "second", "third"):
        fail(work, text)
    with pytest.raises(StudyFailedError, match="3 trials failed and none ended well") as raised:
        work.claim()
    assert "trial 0: first" in str(raised.value)
    # The same command again, when the cause is gone.
    again = coordinator(url, 10, run="another")
    assert again.claim().number == 3


def test_failures_among_successes_only_count(url):
    work = coordinator(url, 5)
    work.study.tell(work.claim().number, 0.5)
    for _ in range(4):
        fail(work, "diverged")
    assert work.claim() is None


def test_one_process_finishes_a_study(url):
    mine = coordinator(url, 1)
    assert mine.claim_finish()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    other = replace(Worker.this(), pid=process.pid, started=started)
    mine.study.set_user_attr("finisher", other.signed())
    assert not mine.claim_finish()
    process.kill()
    process.wait()
    assert mine.claim_finish()
    mine.release_finish()
    assert coordinator(url, 1).claim_finish()
