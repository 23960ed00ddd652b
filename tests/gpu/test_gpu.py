"""What needs a GPU: the runs of the CPU there, with the same numbers.

They skip themselves where torch sees no CUDA device; `pytest -m gpu` runs these alone. The figures
that they see are properties of `--junitxml`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import pytorch_lightning as pl
import torch
from support import REPOSITORY, composed

from lightning_collab.config import validated
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.engine import COMPILERS
from lightning_collab.training.run import train as train_here

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]

SMALL = (
    "data=synthetic",
    "data.ratings=20000",
    "data.timestamps=true",
    "data.batch_size=256",
    "model.factors=8",
    "trainer.max_epochs=3",
    "optimizer.lr=0.02",
    "callbacks.report=null",
    "callbacks.projector=null",
    "callbacks.progress_bar=false",
)
CPU = ("trainer=cpu",)
EAGER = (*CPU, "training.engine=eager")
GPU = ("trainer=gpu",)
NET = ("model=embedding_net",)
# Each kind of device draws masks of its own; without any, the numbers are the same.
NO_DROPOUT = (*NET, "model.embedding_dropout=0", "model.hidden_dropout=0")
BAYESIAN = ("model=bayesian_factors", "model.burn_in=2", "model.samples=4", "trainer.max_epochs=6")
SGD = ("optimizer=sgd", "optimizer.lr=1")
SPARSE = ("optimizer.sparse=true", "optimizer.momentum=0", "optimizer.decay=per_row")
BY_GRADIENT = {
    "dot_bias": (),
    "net": NO_DROPOUT,
    "matrix_product": ("model=matrix_product",),
    "dot_bias_features": ("features=everything",),
    "net_features": (*NO_DROPOUT, "features=everything"),
    "clipping": (*SGD, "trainer.gradient_clip_val=0.02"),
    "ema": ("averaging=ema", "averaging.decay=0.9"),
    "swa": ("averaging=swa",),
    "swa_of_cycles": ("averaging=swa", "averaging.every=cycle"),
    "momentum": (*SGD, "optimizer.decay=decoupled"),
    "sparse": (*SGD, *SPARSE),
    "one_cycle": ("scheduler=one_cycle",),
    "full_batch": ("data.batch_size=full",),
}
SOLVED = {
    "least_squares": ("model=least_squares_factors",),
    "bayesian": BAYESIAN,
    "bayesian_features": (*BAYESIAN, "features=everything"),
}
# What is drawn is the same on every device, and so are the numbers.
NO_HISTORY = ("~features.time", "~features.users.history", "~features.items.history")
BATCHES_OF_USERS = ("loss=softmax", "data.batch_size=64", "loss.positives=4")
BY_RANKING = {
    "softmax": BATCHES_OF_USERS,
    "softmax_of_drawn_items": (*BATCHES_OF_USERS, "loss.catalogue_limit=0", "loss.samples=64"),
    "softmax_features": (*BATCHES_OF_USERS, "features=everything", *NO_HISTORY),
    "bce": ("loss=bce", "loss.positives=4", "loss.dislikes=negative"),
    "bpr": ("loss=bpr",),
    "bpr_by_user": ("loss=bpr", "data.order=by_user"),
    # At a high rate rounding grows from step to step.
    "net_bce": ("loss=bce", *NO_DROPOUT, "optimizer.lr=0.002"),
    "implicit_least_squares": ("model=implicit_least_squares",),
    "ease": ("model=ease",),
}
HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def script(run_script):
    """Run a script that has to end well; gives what it printed."""

    def run(name, *arguments, environment=None):
        done = run_script(name, *arguments, environment=environment)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


@pytest.fixture
def metrics(tmp_path):
    """The numbers that a run has left behind."""
    return lambda name: json.loads((tmp_path / name / "metrics.json").read_text())


@pytest.fixture
def train(script, metrics):
    """Train on a few made-up ratings into a directory of that name; gives its numbers."""

    def run(name, *overrides):
        script("train.py", f"hydra.run.dir={name}", *SMALL, *overrides)
        return metrics(name)

    return run


def weights(run):
    """What a run ends with, on the CPU."""
    path = run / "checkpoints/last.ckpt"
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


@pytest.fixture
def same(record_property):
    """Two runs measured the same, up to rounding."""

    def check(one, two, error=1e-4):
        record_property("test_rmse", [one["test/rmse"], two["test/rmse"]])
        record_property("fit_seconds", [one["fit_seconds"], two["fit_seconds"]])
        measured = [key for key in one if key.startswith(("val/", "test/"))]
        assert {"val/rmse", "test/rmse", "test/mae"} <= set(measured)
        for key in measured:
            assert two[key] == pytest.approx(one[key], abs=error), key

    return check


@pytest.mark.parametrize("case", BY_GRADIENT)
def test_gradient_descent_gives_the_numbers_of_the_cpu(train, same, case):
    here = train("cpu", *EAGER, *BY_GRADIENT[case])
    there = train("gpu", *GPU, *BY_GRADIENT[case])
    assert (here["device"], there["device"]) == ("cpu", "cuda:0")
    same(here, there)


@pytest.mark.parametrize("case", SOLVED)
def test_solved_models_give_the_numbers_of_the_cpu(train, same, case):
    here, there = train("cpu", *CPU, *SOLVED[case]), train("gpu", *GPU, *SOLVED[case])
    assert there["device"] == "cuda:0"
    same(here, there)


@pytest.fixture
def same_rankings(record_property):
    """Two runs rank alike, up to items that rounding puts in another order."""

    def check(one, two, error=2e-3):
        measured = [key for key in one if key.startswith(("val/", "test/")) and "@" in key]
        assert {"val/ndcg@10", "test/ndcg@10", "test/recall@10"} <= set(measured)
        record_property("test_ndcg", [one["test/ndcg@10"], two["test/ndcg@10"]])
        record_property("fit_seconds", [one["fit_seconds"], two["fit_seconds"]])
        for key in measured:
            assert two[key] == pytest.approx(one[key], rel=1e-2, abs=error), key

    return check


@pytest.mark.parametrize("case", BY_RANKING)
def test_what_ranks_gives_the_numbers_of_the_cpu(train, same_rankings, case):
    here = train("cpu", *CPU, *BY_RANKING[case])
    there = train("gpu", *GPU, *BY_RANKING[case])
    assert (here["device"], there["device"]) == ("cpu", "cuda:0")
    same_rankings(here, there)


@pytest.mark.parametrize("case", ["softmax", "softmax_of_drawn_items", "bce", "bpr"])
def test_a_resumed_run_that_ranks_ends_like_a_whole_one(
    train, script, same_rankings, metrics, tmp_path, case
):
    typed = (*GPU, *BY_RANKING[case], "scheduler=constant")
    train("cut", *typed, "trainer.max_epochs=2")
    script("train.py", "resume=cut", "trainer.max_epochs=3")
    same_rankings(train("whole", *typed), metrics("cut"))


@pytest.mark.parametrize("case", ["softmax", "bpr"])
def test_one_rank_of_nccl_ranks_like_one_process(train, same_rankings, case):
    ranks = train("ddp", "trainer=ddp", *BY_RANKING[case])
    assert (ranks["device"], ranks["ranks"]) == ("cuda:0", 1)
    same_rankings(train("gpu", *GPU, *BY_RANKING[case]), ranks)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
@pytest.mark.parametrize("case", ["softmax", "bpr"])
def test_other_precisions_rank_about_the_same(train, same_rankings, precision, case):
    full = train("full", *CPU, *BY_RANKING[case])
    typed = (*GPU, f"trainer.precision={precision}", *BY_RANKING[case])
    same_rankings(full, train("gpu", *typed), error=2e-2)


def test_a_run_that_ranks_recommends_the_same_without_a_gpu(train, script):
    there = train("out", *GPU, *BY_RANKING["softmax"])
    for words in (("user=1",), ("items=[1,2,3]",)):
        said = [
            script("recommend.py", "run=out", *words, environment=environment)
            for environment in ({}, HIDDEN)
        ]
        assert said[0] == said[1]
    for environment in ({}, HIDDEN):
        measured = script("evaluate.py", "run=out", environment=environment)
        assert f"{there['test/ndcg@10']:.3f}" in measured


def test_dropout_draws_other_masks_but_learns_as_well(train, same):
    same(train("cpu", *EAGER, *NET), train("gpu", *GPU, *NET), error=0.03)


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler")
@pytest.mark.parametrize("model", [(), NET], ids=["dot_bias", "net"])
def test_compiled_steps_are_those_of_autograd(train, same, tmp_path, model):
    same(train("eager", *GPU, *model), train("made", *GPU, "training.engine=compiled", *model))
    log = (tmp_path / "made/train.log").read_text()
    assert "engine: compiled" in log
    assert "failed" not in log


GRAPHED = {
    "dot_bias": (),
    "net": NET,
    "momentum": SGD,
    "decoupled": (*SGD, "optimizer.decay=decoupled"),
    "clipping": (*SGD, "trainer.gradient_clip_val=0.02"),
    "ema": ("averaging=ema", "averaging.decay=0.9"),
    "double": ("trainer.precision=64-true",),
}


@pytest.mark.parametrize("case", GRAPHED)
def test_recorded_steps_are_those_of_autograd(train, same, tmp_path, case):
    typed = (*GPU, *GRAPHED[case])
    eager = train("eager", *typed, "training.engine=eager")
    same(eager, train("graphs", *typed, "training.engine=graphs"))
    assert "engine: graphs" in (tmp_path / "graphs/train.log").read_text()


def test_recorded_pairs_are_those_of_autograd(train, same_rankings):
    typed = (*GPU, *BY_RANKING["bpr"])
    eager = train("eager", *typed)
    same_rankings(eager, train("graphs", *typed, "training.engine=graphs"))


def test_a_recorded_run_goes_on(train, script, same, metrics):
    typed = (*GPU, "training.engine=graphs", "scheduler=constant")
    train("cut", *typed, "trainer.max_epochs=2")
    script("train.py", "resume=cut", "trainer.max_epochs=3")
    same(train("whole", *typed), metrics("cut"))


@pytest.mark.parametrize(
    ("precision", "error"), [("64-true", 1e-3), ("bf16-mixed", 5e-3), ("16-mixed", 5e-3)]
)
@pytest.mark.parametrize("model", [(), NO_DROPOUT], ids=["dot_bias", "net"])
def test_other_precisions_measure_about_the_same(train, same, precision, error, model):
    full = train("full", *EAGER, *model)
    same(full, train("gpu", *GPU, f"trainer.precision={precision}", *model), error=error)


def test_sixteen_bits_with_clipping_and_an_average(train):
    options = ("trainer.precision=16-mixed", "trainer.gradient_clip_val=0.02", "averaging=ema")
    measured = train("gpu", *GPU, *options, "averaging.decay=0.9")
    assert measured["test/rmse"] < measured["baseline/mean_rmse"]


def test_auto_takes_an_engine_that_can_and_says_why(train, tmp_path):
    train("gpu", *GPU, "trainer.max_epochs=1")
    assert "engine: eager (the fused engine is CPU-only" in (tmp_path / "gpu/train.log").read_text()


def test_the_range_test_finds_the_same_rate(train, record_property, tmp_path):
    rates = []
    for name, where in (("cpu", EAGER), ("gpu", GPU)):
        train(name, *where, "find_lr=true", "trainer.max_epochs=1")
        rates.append(RunDirectory(tmp_path / name).read_config().optimizer.lr)
    record_property("rates", rates)
    # One step of the test raises the rate by 7%.
    assert rates[1] == pytest.approx(rates[0], rel=0.1)


@pytest.mark.parametrize(
    "options", [(), NET, ("averaging=ema", "features=everything")], ids=["dot_bias", "net", "ema"]
)
def test_a_resumed_run_ends_like_a_whole_one(
    train, script, same, metrics, record_property, tmp_path, options
):
    train("cut", *GPU, *options, "trainer.max_epochs=2")
    script("train.py", "resume=cut", "trainer.max_epochs=3")
    same(train("whole", *GPU, *options), metrics("cut"), error=1e-4)
    train("again", *GPU, *options)
    whole, resumed, again = (weights(tmp_path / run) for run in ("whole", "cut", "again"))
    for name, ends in (("resumed", resumed), ("again", again)):
        errors = {key: (ends[key] - whole[key]).abs().max().item() for key in whole}
        record_property(name, {"tensors": len(errors), "largest_error": max(errors.values())})
        assert max(errors.values()) < 1e-3


def test_ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_been(
    train, script, same, metrics, tmp_path
):
    options = (*SMALL, *GPU, *NET, "data.batch_size=16", "callbacks.progress_bar=true")
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "scripts/train.py", "hydra.run.dir=cut", *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "epoch 1/3" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "stopped at step" in said
    state = torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)
    assert state["steps_done"] % 1000 > 0, "the signal should come in mid-epoch"
    script("train.py", "resume=cut")
    whole = train("whole", *GPU, *NET, "data.batch_size=16")
    same(whole, metrics("cut"), error=1e-4)


def test_a_run_is_used_and_goes_on_without_a_gpu(train, script, metrics, tmp_path):
    there = train("out", *GPU, *NET, "features=everything")
    shown = f"{there['test/rmse']:.4f}"
    for environment in ({}, HIDDEN):
        measured = script(
            "evaluate.py", "run=out", "ranking=true", "ensemble=true", environment=environment
        )
        assert shown in measured
        assert "NDCG@10" in measured
    best = [
        script("recommend.py", "run=out", "user=1", environment=environment)
        for environment in ({}, HIDDEN)
    ]
    assert "for user 1" in best[0]
    assert best[0] == best[1]
    script("train.py", "resume=out", "trainer.max_epochs=7", "trainer=cpu", environment=HIDDEN)
    assert (metrics("out")["device"], metrics("out")["epochs"]) == ("cpu", 7)
    script("train.py", "resume=out", "trainer.max_epochs=8", "trainer=gpu")
    assert (metrics("out")["device"], metrics("out")["epochs"]) == ("cuda:0", 8)


@pytest.mark.parametrize("case", ["ddp", "rows", "net"])
def test_one_rank_of_nccl_gives_the_numbers_of_one_process(train, same, case):
    options = {"ddp": (), "rows": ("model.sharding=row",), "net": (*NET, "averaging=swa")}[case]
    alone = tuple(option for option in options if "sharding" not in option)
    ranks = train("ddp", "trainer=ddp", *options)
    assert (ranks["device"], ranks["ranks"]) == ("cuda:0", 1)
    same(train("gpu", *GPU, *alone), ranks)


TWO = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="a second CUDA device is needed")


@TWO
@pytest.mark.parametrize("case", ["dot_bias", "net", "dot_bias_features"])
def test_two_devices_give_the_numbers_of_one(train, same, case):
    options = (*BY_GRADIENT[case], "trainer.devices=2")
    same(train("one", *GPU, *BY_GRADIENT[case]), train("two", "trainer=ddp", *options))


@TWO
def test_tables_split_over_two_devices_give_the_numbers_of_one(train, same):
    split = ("trainer=ddp", "trainer.devices=2", "model.sharding=row")
    same(train("whole", *GPU), train("split", *split))


@TWO
def test_two_devices_rank_like_one(train, same_rankings):
    options = BY_RANKING["softmax"]
    same_rankings(
        train("one", *GPU, *options), train("two", "trainer=ddp", "trainer.devices=2", *options)
    )


def test_reports_and_the_projector_are_made_of_a_run_there(train, tmp_path):
    pages = ("callbacks.report={map: pca}", "callbacks.projector={every_n_epochs: 1, users: true}")
    train("out", *GPU, *pages, "features=everything")
    assert (tmp_path / "out/report.html").stat().st_size > 10_000
    assert "could be shown" not in (tmp_path / "out/train.log").read_text()


def test_folds_grids_and_studies_train_there(script, tmp_path):
    quick = (*SMALL, *GPU, "trainer.max_epochs=1")
    script("cross_validate.py", "hydra.run.dir=folds", *quick, "split.folds=2")
    script("train.py", "-m", "hydra.sweep.dir=grid", *quick, "optimizer.lr=0.01,0.03")
    study = ("hydra/sweeper=optuna_study", "hydra.sweeper.n_trials=2", "hydra.sweep.dir=study")
    script("train.py", "-m", *study, *quick, "optimizer.lr=interval(0.01,0.03)")
    for folder in ("folds", "grid", "study"):
        runs = [path.parent for path in (tmp_path / folder).rglob("train.log")]
        assert len(runs) >= 2
        assert {RunDirectory(run).read_metrics()["device"] for run in runs} == {"cuda:0"}


def test_batches_are_on_the_device_and_no_step_copies_to_it(tmp_path, record_property):
    options = ("data.batch_size=64", "trainer.max_epochs=1", "features=everything")
    config = validated(composed(*SMALL, *GPU, *options))
    places = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            places.extend(each.device.type for each in batch if isinstance(each, torch.Tensor))

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        train_here(
            config, RunDirectory(tmp_path / "run"), callbacks=[Watch()], data=load_data(config)
        )
    copies = Counter(
        way for each in profile.events() for way in ("HtoD", "DtoH", "DtoD") if way in each.name
    )
    steps = len(places) // 4
    record_property("copies", {"steps": steps, **copies})
    assert set(places) == {"cuda"}
    assert steps == 250
    assert 0 < copies["HtoD"] < steps


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["softmax", "bce", "bpr"])
def test_whole_runs_that_rank_are_timed(script, metrics, record_property, loss):
    """A million ratings: a record, which nothing is held to."""
    size = ("data.ratings=1000000", f"loss={loss}", "trainer.max_epochs=3", "model.factors=64")
    batch = () if loss == "softmax" else ("data.batch_size=8192",)
    for name, where in {"gpu": GPU, "cpu_auto_one_thread": CPU}.items():
        typed = [each for each in SMALL if not each.startswith(("data.batch", "optimizer"))]
        began = time.perf_counter()
        script("train.py", f"hydra.run.dir={name}", *typed, *size, *batch, *where)
        seconds = time.perf_counter() - began
        figures = {key: metrics(name)[key] for key in ("fit_seconds", "test/ndcg@10")}
        record_property(name, {"process_seconds": round(seconds, 1), **figures})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["embedding_dot_bias", "embedding_net"])
@pytest.mark.parametrize(
    ("ratings", "batch_size", "epochs"), [(10**5, 512, 7), (4 * 10**6, 1 << 16, 7)]
)
def test_whole_runs_are_timed(script, metrics, record_property, ratings, batch_size, epochs, model):
    """Seconds of the whole process, and of the epochs alone: a record, which nothing is held to."""
    size = (f"data.ratings={ratings}", f"data.batch_size={batch_size}")
    size += (f"trainer.max_epochs={epochs}", f"model={model}", "model.factors=50")
    cores = {"OMP_NUM_THREADS": str(os.cpu_count())}
    for name, where in {
        "gpu": GPU,
        "cpu_eager_all_cores": (*EAGER, "trainer.threads=null"),
        "cpu_auto_one_thread": CPU,
    }.items():
        began = time.perf_counter()
        script("train.py", f"hydra.run.dir={name}", *SMALL, *size, *where, environment=cores)
        seconds = time.perf_counter() - began
        kept = ("fit_seconds", "train_ratings_per_second", "test/rmse")
        figures = {key: metrics(name)[key] for key in kept}
        record_property(name, {"process_seconds": round(seconds, 1), **figures})
