"""What a full disk, a folder that cannot be written and a vanished file do to a run."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest
import pytorch_lightning as pl

from lightning_collab.errors import DataError, StorageError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

QUICK = (
    "callbacks.progress_bar=false",
    "logger=none",
    "trainer.max_epochs=4",
    "model.factors=4",
    "data=csv",
    "data.cache=false",
)


@pytest.fixture
def ratings_file(small_table, tmp_path):
    path = tmp_path / "ratings.csv"
    lines = zip(small_table.users, small_table.items, small_table.ratings, strict=True)
    path.write_text("user,item,rating\n" + "".join(f"{u},{i},{r:g}\n" for u, i, r in lines))
    return path


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


@contextmanager
def nothing_can_be_made_in(folder):
    """Permission is not asked of root, so that for root the folder is made immutable."""
    root = os.geteuid() == 0
    if root and (
        not shutil.which("chattr")
        or subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode
    ):
        pytest.skip("root can write everywhere, and this file system has no immutable folders")
    try:
        if not root:
            folder.chmod(0o500)
        yield
    finally:
        if root:
            subprocess.run(["chattr", "-i", folder], check=True)
        else:
            folder.chmod(0o700)


@contextmanager
def files_no_longer_than(size):
    """What a full disk is to a program: a write that fails in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class WhenEpochEnds(pl.Callback):
    """Enters a context at the end of an epoch's training, before its checkpoints."""

    def __init__(self, epoch, context):
        self.epoch = epoch
        self.context = context

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch - 1:
            self.context.__enter__()


def assert_stopped_and_resumable(raised, run, config):
    """The message names file, reason and what is left; with room again the run goes on."""
    assert "cannot write" in str(raised.value)
    assert f"The last good checkpoint, of epoch 2, is {run.last_checkpoint}" in str(raised.value)
    assert read_checkpoint(run.last_checkpoint)["epoch"] == 1
    assert read_checkpoint(run.best_checkpoint)["epoch"] <= 1
    assert not list(run.path.rglob(".*"))
    assert train(config, run, resume=True)["epochs"] == 4


def test_a_folder_that_can_no_longer_be_written(run_config, ratings_file, run):
    config = run_config(*QUICK, f"data.path={ratings_file}")
    run.checkpoints.mkdir(parents=True)
    locked = nothing_can_be_made_in(run.checkpoints)
    try:
        with pytest.raises(StorageError, match=r"checkpoints/(best|last)") as raised:
            train(config, run, callbacks=[WhenEpochEnds(3, locked)])
    finally:
        locked.__exit__(None, None, None)
    assert_stopped_and_resumable(raised, run, config)


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint(run_config, ratings_file, run):
    config = run_config(*QUICK, f"data.path={ratings_file}")
    full = files_no_longer_than(1000)
    try:
        with pytest.raises(StorageError, match=r"checkpoints/(best|last)") as raised:
            train(config, run, callbacks=[WhenEpochEnds(3, full)])
    finally:
        full.__exit__(None, None, None)
    assert_stopped_and_resumable(raised, run, config)


def test_ratings_that_vanished_are_named_and_the_run_goes_on_when_they_are_back(
    run_config, ratings_file, run
):
    config = run_config(*QUICK, f"data.path={ratings_file}", "trainer.max_epochs=2")
    train(config, run)
    away = ratings_file.rename(ratings_file.with_suffix(".away"))
    longer = config.model_copy(
        update={"trainer": config.trainer.model_copy(update={"max_epochs": 3})}
    )
    with pytest.raises(DataError, match=r"ratings\.csv: no such file"):
        train(longer, run, resume=True)
    assert read_checkpoint(run.last_checkpoint)["epoch"] == 1
    assert run.read_metrics()["epochs"] == 2
    away.rename(ratings_file)
    assert train(longer, run, resume=True)["epochs"] == 3


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own of 6 MB, and a way to make it larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not shutil.which("mount") or not mount("-o", "size=6m"):
        pytest.skip("mounting a small disk needs root")
    yield place, lambda: mount("-o", "remount,size=64m")
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_with_a_message_and_with_room_the_run_goes_on(
    run_script, ml_100k, small_disk
):
    place, make_room = small_disk
    quick = ("data.batch_size=4096", "trainer.max_epochs=5", "callbacks.report.map=pca")
    done = run_script("train.py", f"hydra.run.dir={place}/run", *quick)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert f"is {place}/run/checkpoints/last.ckpt" in done.stderr
    assert "Traceback" not in done.stderr
    assert read_checkpoint(place / "run/checkpoints/last.ckpt")["epoch"] < 4
    evaluated = run_script("evaluate.py", f"run={place}/run")
    assert evaluated.returncode == 0, evaluated.stderr
    assert make_room()
    done = run_script("train.py", f"resume={place}/run")
    assert done.returncode == 0, done.stderr
    assert RunDirectory(place / "run").read_metrics()["epochs"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 12, 60])
def test_a_disk_that_is_full_from_the_start_ends_with_a_message(
    run_script, ml_100k, small_disk, kilobytes
):
    """So little room that the log, the curves or the catalogue are what does not fit."""
    place, _ = small_disk
    options = ["mount", "-o", f"remount,size={kilobytes}k", str(place)]
    subprocess.run(options, check=True)
    done = run_script("train.py", f"hydra.run.dir={place}/run", "model.factors=2")
    assert done.returncode == 1
    assert "error: cannot write" in done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
