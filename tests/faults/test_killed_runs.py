"""A run that is killed and resumed is the run that was never stopped, to the bit."""

import json
import random

import pytest
from killed_runs import (
    after,
    differences,
    run_and_kill,
    run_to_the_end,
    when_written,
    while_writing,
)

from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

BASE = (
    "data=synthetic",
    "data.ratings=20000",
    "data.batch_size=256",
    "logger=none",
    "callbacks.projector=null",
    "callbacks.report=null",
    "callbacks.progress_bar=false",
    "trainer.max_epochs=6",
)
RUNS = {
    "dot product, eager": ("training.engine=eager", "model.factors=8"),
    "ratings on disk": (
        "training.engine=eager",
        "model.factors=8",
        "data.storage=memory_map",
        "data.shuffle_window=3000",
    ),
    "dot product, fused": ("training.engine=fused", "model.factors=8"),
    "momentum and early stopping": (
        "optimizer=sgd",
        "callbacks=early_stopping",
        "callbacks.projector=null",
        "callbacks.report=null",
        "callbacks.progress_bar=false",
        "model.factors=8",
    ),
    "net with dropout": ("model=embedding_net", "training.engine=eager", "model.factors=8"),
    "dot product, compiled": ("training.engine=compiled", "model.factors=8"),
    "softmax": (
        "loss=softmax",
        "loss.positives=4",
        "data.batch_size=16",
        "model.factors=8",
        "optimizer.lr=0.02",
    ),
    "BPR with drawn items": ("loss=bpr", "model.factors=8"),
    "Gibbs sampling": ("model=bayesian_factors", "model.factors=4", "model.burn_in=2"),
    "least squares": ("model=least_squares_factors", "model.factors=8"),
}


def options(name):
    return (*BASE, *RUNS[name])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody stopped, of each kind."""
    made = {}

    def of(name):
        if name not in made:
            # Twice: the first may have to compile, and its seconds say nothing about the others.
            for _ in range(2):
                made[name] = run_to_the_end(options(name), tmp_path_factory.mktemp("whole") / "run")
        return made[name]

    return of


def assert_same_run(run, other):
    for checkpoint in ("last.ckpt", "best.ckpt"):
        one, two = (read_checkpoint(each.checkpoints / checkpoint) for each in (run, other))
        assert differences(one, two) == []
    mine, theirs = (json.loads(each.metrics_file.read_text()) for each in (run, other))
    measured = [key for key in theirs if key.startswith(("val/", "test/", "baseline/", "epochs"))]
    assert len(measured) > 5
    assert {key: mine[key] for key in measured} == {key: theirs[key] for key in measured}
    assert not list(run.path.rglob(".*"))


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_moments(name, whole, tmp_path):
    draw = random.Random(name)
    seconds = whole(name).read_metrics()["fit_seconds"]
    moments = [after(draw.uniform(0.1, 0.8) * seconds) for _ in range(3)]
    assert run_and_kill(options(name), tmp_path, moments[0])
    # A resumed run may have so little left to do that it ends before the next moment.
    killed = all(run_and_kill((), tmp_path, moment, resume=True) for moment in moments[1:])
    run = run_to_the_end((), tmp_path, resume=True) if killed else RunDirectory(tmp_path)
    assert_same_run(run, whole(name))


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("checkpoint", ["last.ckpt", "best.ckpt"])
def test_killed_in_the_middle_of_a_checkpoint(name, checkpoint, whole, tmp_path):
    for attempt in range(5):
        path = tmp_path / str(attempt)
        killed = run_and_kill(options(name), path, while_writing(checkpoint, 2))
        if killed and list(path.glob(f"checkpoints/.{checkpoint}-*")):
            break
    else:
        pytest.fail("the checkpoint was whole each time; the test kills too late")
    read_checkpoint(path / "checkpoints" / checkpoint)
    run = run_to_the_end((), path, resume=True)
    assert_same_run(run, whole(name))


@pytest.mark.parametrize(
    "moment",
    [
        when_written("checkpoints/best.ckpt", 1),  # there is no last.ckpt
        when_written("checkpoints/best.ckpt", 2),  # last.ckpt is one epoch behind
        when_written("checkpoints/last.ckpt", 6),  # trained to the end, and not measured
        when_written("config.yaml", 1),  # no checkpoint yet
    ],
    ids=[
        "before the first last.ckpt",
        "between both checkpoints",
        "before the metrics",
        "before the first checkpoint",
    ],
)
def test_killed_where_the_files_of_a_run_disagree(moment, whole, tmp_path):
    name = "dot product, eager"
    assert run_and_kill(options(name), tmp_path, moment)
    assert not (tmp_path / "metrics.json").exists()
    run = run_to_the_end((), tmp_path, resume=True)
    assert_same_run(run, whole(name))
