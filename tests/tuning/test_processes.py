"""No living worker is taken for dead, and no dead one for living."""

import subprocess
import sys
import time
from dataclasses import replace

from lightning_collab.tuning import processes
from lightning_collab.tuning.processes import StaleTrialDetector, Worker, sign_of_life


def test_a_process_that_runs_here_is_alive_however_old_its_sign():
    sign = Worker.this().signed() | {"renewed": 0.0}
    assert not StaleTrialDetector(stale_after=0.0).is_stale(1, sign)


def test_a_process_that_has_ended_here_is_dead_at_once():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    sign = replace(Worker.this(), pid=process.pid, started=processes._started(process.pid)).signed()
    watch = StaleTrialDetector(stale_after=1000.0)
    assert not watch.is_stale(1, sign)
    process.kill()
    # Not yet waited for: a zombie is dead too.
    deadline = time.monotonic() + 5
    while not watch.is_stale(1, sign) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watch.is_stale(1, sign)
    process.wait()
    assert watch.is_stale(1, sign)


def test_a_later_process_with_the_same_id_is_another():
    sign = replace(Worker.this(), started=Worker.this().started - 100).signed()
    assert StaleTrialDetector(stale_after=1000.0).is_stale(1, sign)


def test_a_trial_that_nobody_signed_is_dead():
    assert StaleTrialDetector(stale_after=1000.0).is_stale(1, None)


def test_another_machine_is_judged_by_our_clock_alone(monkeypatch):
    now = 100.0
    monkeypatch.setattr(processes.time, "monotonic", lambda: now)
    # A clock years ahead, on a machine where our pid means nothing.
    sign = replace(Worker.this(), machine="elsewhere", pid=1).signed() | {"renewed": 9e12}
    watch = StaleTrialDetector(stale_after=60.0)
    assert not watch.is_stale(1, sign)
    now = 159.0
    assert not watch.is_stale(1, sign)
    now = 161.0
    assert watch.is_stale(1, sign)
    # Renewed, even by a clock that goes backwards: alive for another while.
    renewed = sign | {"renewed": 8e12}
    assert not watch.is_stale(1, renewed)
    now = 220.0
    assert not watch.is_stale(1, renewed)


def test_signs_are_renewed_and_a_storage_that_is_away_is_borne():
    signs = []

    def renew(sign):
        signs.append(sign)
        if len(signs) == 1:
            raise ConnectionError

    with sign_of_life(renew, every=0.01):
        deadline = time.monotonic() + 5
        while len(signs) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    count = len(signs)
    assert count >= 3
    assert signs[-1]["renewed"] > signs[0]["renewed"]
    time.sleep(0.05)
    assert len(signs) == count
