import subprocess

import pytest

from benchmarks.startup import FIRST_STEP, QUIET, TRAIN, process_seconds, summary


def test_ratios_are_of_the_same_round():
    # The second round was disturbed: both processes took ten times as long.
    seconds = {
        "import_pytorch_lightning": [4.0, 40.0, 4.0],
        "help": [1.0, 10.0, 1.0],
        "load": [2.0, 20.0, 3.0],
        "first_step": [5.0, 50.0, 8.0],
    }
    result = summary(seconds)
    assert result["startup/help_over_lightning"] == 0.25
    assert result["startup/first_step_over_lightning"] == 1.25
    assert result["startup/load_seconds"] == 3.0


def test_a_process_is_waited_for():
    assert process_seconds("-c", "import time; time.sleep(0.3)") > 0.3


def test_a_process_that_fails_is_no_measurement():
    with pytest.raises(subprocess.CalledProcessError):
        process_seconds("-c", "raise SystemExit(1)")


@pytest.mark.slow
def test_a_run_ends_with_its_first_step(tmp_path):
    data = ("data=synthetic", "data.ratings=10000", f"hydra.run.dir={tmp_path / 'run'}")
    process_seconds("-c", FIRST_STEP, TRAIN, *data, *QUIET)
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    with pytest.raises(subprocess.CalledProcessError):
        process_seconds("-c", FIRST_STEP, TRAIN, *data, *QUIET, "model.factors=0")
