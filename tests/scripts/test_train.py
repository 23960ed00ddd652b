"""The commands as a person uses them: in a fresh process."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support import REPOSITORY

BARE = ("callbacks.report=null", "callbacks.projector=null")
QUICK = (*BARE, "trainer.max_epochs=2", "data.batch_size=4096", "model.factors=8")


def numbers(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def needs_ml_100k(ml_100k):
    """The scripts read the real data."""


@pytest.fixture
def ok(run_script, needs_ml_100k):
    def run(script, *arguments):
        done = run_script(script, *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    return run


def test_train_evaluate_resume(ok, run_script, tmp_path):
    done = ok("train.py", "model=embedding_net", "hydra.run.dir=out", *QUICK)
    run = tmp_path / "out"
    metrics = numbers(run)
    for text in ("embedding_net", "user and item biases", "mean rating", "tensorboard", "out"):
        assert text in done.stdout
    assert f"{metrics['test/rmse']:.4f}" in done.stdout
    assert "2/2" in done.stderr
    assert "embedding_net on ml_100k" in (run / "train.log").read_text()

    # Two commands from nothing to a recommendation; the second is printed by the first.
    (pasted,) = re.findall(r"^try +(.*)$", done.stdout, flags=re.MULTILINE)
    said = subprocess.run(
        pasted, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "for user 1" in said.stdout
    assert "(19" in said.stdout, "titles of films"

    evaluated = ok("evaluate.py", "run=out")
    assert f"{metrics['test/rmse']:.4f}" in evaluated.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]

    ok("train.py", "resume=out", "trainer.max_epochs=3")
    assert numbers(run)["epochs"] == 3
    ok("train.py", "model=embedding_net", "hydra.run.dir=whole", *QUICK, "trainer.max_epochs=3")
    assert numbers(run)["test/rmse"] == numbers(tmp_path / "whole")["test/rmse"]

    again = run_script("train.py", "resume=out", "model=embedding_dot_bias")
    assert again.returncode != 0
    assert "model=embedding_dot_bias cannot be changed on resume" in again.stderr


def test_a_run_whose_items_are_held_out(ok, tmp_path):
    ok("train.py", "split=cold_items", "hydra.run.dir=out", *BARE, "trainer.max_epochs=1")
    metrics = numbers(tmp_path / "out")
    assert metrics["test_ratings_of_unknown_items"] == metrics["test_ratings"] > 0
    assert metrics["test/rmse_cold"] == metrics["test/rmse"]
    said = (tmp_path / "out/train.log").read_text()
    assert f"{metrics['test_ratings']:,} test ratings of items without training ones" in said


def test_two_ranks_give_the_numbers_of_one_process(ok, tmp_path):
    options = (*QUICK, "model=embedding_net", "data.batch_size=4099", "logger=tensorboard")
    ok("train.py", "hydra.run.dir=one", *options)
    ok("train.py", "hydra.run.dir=two", "trainer=ddp_cpu", "trainer.devices=2", *options)
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert two["ranks"] == 2
    measured = [key for key in one if key.startswith(("val/", "test/"))]
    assert {"val/rmse", "test/rmse_warm", "test/mae_cold"} <= set(measured)
    for key in measured:
        assert two[key] == pytest.approx(one[key], abs=1e-5)
    names = [sorted(p.name for p in (tmp_path / run).iterdir()) for run in ("one", "two")]
    assert names[0] == names[1]


def test_one_rank_with_split_tables_takes_steps_that_can(ok, tmp_path):
    options = (*BARE, "data=synthetic", "data.ratings=1000", "model.factors=2")
    ranks = ("trainer=ddp_cpu", "trainer.devices=1", "model.sharding=row")
    ok("train.py", "hydra.run.dir=split", *options, *ranks)
    ok("train.py", "hydra.run.dir=whole", *options, "training.engine=eager")
    split, whole = numbers(tmp_path / "split"), numbers(tmp_path / "whole")
    assert split["val/rmse"] == pytest.approx(whole["val/rmse"], abs=1e-5)
    assert "its tables are split over ranks" in (tmp_path / "split/train.log").read_text()


SMALL = (*BARE, "data=synthetic", "data.ratings=1000", "data.batch_size=100", "model.factors=2")


def test_an_optimizer_of_torch_with_several_loggers(run_script, tmp_path):
    words = ("optimizer=torch", "optimizer.class_name=RMSprop", "logger=[tensorboard,csv]")
    done = run_script("train.py", *SMALL, *words, "trainer.max_epochs=1", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert "engine: eager (there are no fused kernels for torch.optim.RMSprop)" in done.stderr
    places = [line for line in done.stdout.splitlines() if line.startswith("curves")]
    assert "tensorboard --logdir out" in places[0]
    assert places[1].split() == ["curves", "out/csv/metrics.csv"]
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))
    with (tmp_path / "out" / "csv" / "metrics.csv").open(newline="") as file:
        final = list(csv.DictReader(file))[-1]
    assert float(final["final/test_rmse"]) == numbers(tmp_path / "out")["test/rmse"]


@pytest.mark.slow
def test_callbacks_of_a_package_are_typed_or_in_a_folder_and_not_kept(run_script, tmp_path):
    (tmp_path / "my_package.py").write_text(
        "import pytorch_lightning as pl\n"
        "class Said(pl.Callback):\n"
        "    def __init__(self, word): self.word = word\n"
        "    def on_train_epoch_end(self, trainer, module):\n"
        "        print(f'{self.word} {trainer.current_epoch}')\n"
    )
    group = tmp_path / "conf" / "callbacks"
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text(
        "defaults: [default, _self_]\nfurther:\n  mine:\n"
        "    _target_: my_package.Said\n    word: folder\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path}

    def run(*words):
        done = run_script("train.py", *words, environment=environment)
        assert done.returncode == 0, done.stderr
        return done

    typed = "callbacks.further=[{_target_: my_package.Said, word: typed}]"
    first = run(*SMALL, typed, "trainer.max_epochs=1", "hydra.run.dir=out")
    assert "typed 0" in first.stdout.splitlines()
    assert "_target_" not in (tmp_path / "out" / "config.yaml").read_text()
    second = run("resume=out", "trainer.max_epochs=2")
    assert "typed 1" not in second.stdout
    # The log is folded to the width of the terminal.
    assert "the run had further callbacks (my_package.Said)" in " ".join(second.stderr.split())
    third = run("resume=out", "trainer.max_epochs=3", typed)
    assert "typed 2" in third.stdout.splitlines()
    own = run(*SMALL, "callbacks=mine", "trainer.max_epochs=1", "hydra.run.dir=own")
    assert "folder 0" in own.stdout.splitlines()
    grid = run("-m", *SMALL, typed, "trainer.max_epochs=1", "seed=1,2", "hydra.sweep.dir=grid")
    assert grid.stdout.splitlines().count("typed 0") == 2

    config = tmp_path / "out" / "config.yaml"
    foreign = yaml.safe_load(config.read_text())
    foreign["callbacks"]["further"] = [{"_target_": "my_package.Said", "word": "foreign"}]
    config.write_text(yaml.safe_dump(foreign))
    refused = run_script("train.py", "resume=out", "trainer.max_epochs=4", environment=environment)
    assert refused.returncode == 1
    assert "refused: callbacks.further.0._target_ names a class by its path" in refused.stderr
    assert "foreign" not in refused.stdout


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_been(ok, tmp_path):
    options = (
        *BARE,
        "training.engine=eager",
        "trainer.max_epochs=3",
        "model.factors=8",
        "data.batch_size=128",
    )
    data = os.environ.get("LIGHTNING_COLLAB_DATA")
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "scripts/train.py", "hydra.run.dir=cut", *options],
        cwd=tmp_path,
        env={
            **os.environ,
            **({"LIGHTNING_COLLAB_DATA": str(Path(data).resolve())} if data else {}),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "epoch 1/3" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "stopped at step" in said
    assert "scripts/train.py resume=" in said
    state = torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)
    assert state["steps_done"] % 625 > 0, "the signal should come in mid-epoch"

    ok("train.py", "resume=cut")
    ok("train.py", "hydra.run.dir=whole", *options)
    assert numbers(tmp_path / "cut")["test/rmse"] == numbers(tmp_path / "whole")["test/rmse"]
    ends = [
        torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("cut", "whole")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.batch_size=0"], "data.batch_size"),
        (["model.factor=3"], "model.factor: unknown key; did you mean 'factors'"),
        (["split=given"], "split=given is now split=predefined"),
        (["+model.factor=3"], "model.factor: unknown key; did you mean 'factors'"),
        (["model=nonsense"], "embedding_dot_bias"),
        (["split.val=0", "callbacks.monitor=val/rmse"], "callbacks.monitor"),
        (["trainer=gpu"], "no GPU"),
        (["resume=nowhere"], "nowhere: not a run directory"),
        (["hydra.run.dir=/proc/none/run"], "cannot write the run directory"),
        (["optimizer=torch", "optimizer.class_name=RMSprob"], "did you mean 'RMSprop'?"),
        (["callbacks.further=[{_target_: nowhere.Callback}]"], "No module named 'nowhere'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_ends_with_a_message_and_leaves_nothing(run_script, arguments, message, tmp_path):
    if arguments == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = run_script("train.py", *arguments)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_no_data_and_no_network_end_with_a_message_and_leave_nothing(run_script, tmp_path):
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": "/dev/null"}
    offline |= {"PIP_NO_INDEX": "1", "https_proxy": "http://127.0.0.1:9/"}
    done = run_script("train.py", "data.root=data", environment=offline)
    assert done.returncode == 1
    for place in ("1. ", "2. https://files.grouplens.org", "3. the recbole==1.2.1 wheel"):
        assert place in done.stderr
    assert "Traceback" not in done.stderr
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert [str(path) for path in files] == ["data/.ml-100k.lock"]


@pytest.mark.slow
def test_a_truncated_checkpoint_and_one_of_other_data_are_refused(ok, run_script, tmp_path):
    ok("train.py", "hydra.run.dir=one", *QUICK)
    ok("train.py", "hydra.run.dir=two", *QUICK, "split.test=0.7", "split.seed=1")
    other = run_script("evaluate.py", "run=one", "checkpoint=two/checkpoints/best.ckpt")
    assert other.returncode == 1
    assert "belongs to other data" in other.stderr
    checkpoint = tmp_path / "one/checkpoints/best.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    cut = run_script("evaluate.py", "run=one")
    assert cut.returncode == 1
    assert "not a complete checkpoint" in cut.stderr
    assert "Traceback" not in other.stderr + cut.stderr


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_is_for_a_person_and_loads_nothing_heavy(run_script, script):
    done = run_script(script, "--help", environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    assert f"scripts/{script}" in done.stdout
    for heavy in ("torch", "pytorch_lightning", "optuna", "polars"):
        assert f"| {heavy}\n" not in done.stderr


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, lightning_collab; print('torch' in sys.modules, 'polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_find_lr_prints_what_to_paste_and_two_ranks_find_the_same(ok, tmp_path):
    options = ("data.batch_size=4096", "lr_range_test.steps=60", "model.factors=8")
    one = ok("find_lr.py", "hydra.run.dir=one", *options)
    two = ok("find_lr.py", "hydra.run.dir=two", "trainer=ddp_cpu", *options)
    pasted = [line for line in one.stdout.splitlines() if line.startswith("paste")]
    assert pasted == [line for line in two.stdout.splitlines() if line.startswith("paste")]
    assert pasted[0].split()[1].startswith("optimizer.lr=")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "figures",
        "lr_range_test.csv",
    ]
    curves = [
        [float(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]
        for path in (tmp_path / "one/lr_range_test.csv", tmp_path / "two/lr_range_test.csv")
    ]
    # Rounding is blown up where the loss explodes, and nowhere before.
    lowest = curves[0].index(min(curves[0]))
    assert curves[0][: lowest + 1] == pytest.approx(curves[1][: lowest + 1], rel=1e-5)
    ok("train.py", "hydra.run.dir=run", *QUICK, pasted[0].split()[1])


def test_a_run_whose_file_has_moved(run_script, tmp_path):
    random = np.random.default_rng(0)
    lines = [f"{user},{item},{random.integers(1, 6)}" for user in range(30) for item in range(12)]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "r.csv").write_text("user,item,rating\n" + "\n".join(lines))
    small = (*BARE, "data.batch_size=32", "model.factors=4", "trainer.max_epochs=1")
    done = run_script("train.py", "data=csv", "data.path=old/r.csv", *small, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (tmp_path / "old").rename(tmp_path / "new")
    gone = run_script("evaluate.py", "run=out")
    assert gone.returncode == 1
    assert "old/r.csv" in gone.stderr
    found = run_script("evaluate.py", "run=out", "data.path=new/r.csv")
    assert found.returncode == 0, found.stderr
    assert f"{numbers(tmp_path / 'out')['test/rmse']:.4f}" in found.stdout
    wrong = run_script("evaluate.py", "run=out", "data.root=new")
    assert "data.root: the run's data=csv has no such key" in wrong.stderr
    before = (tmp_path / "out" / "config.yaml").read_bytes()
    refused = run_script("train.py", "resume=out", "model.factors=20", "data.path=new/r.csv")
    assert refused.returncode == 1
    assert "model.factors: 4 in the run, and cannot be changed on resume" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (tmp_path / "out" / "config.yaml").read_bytes() == before
    # A run of somebody else reads nothing of ours.
    shutil.copytree(tmp_path / "out", tmp_path / "foreign")
    config = tmp_path / "foreign" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 42", "seed: ${oc.env:SECRET}", 1))
    secret = {"SECRET": "314159"}
    stolen = run_script("train.py", "resume=foreign", "trainer.max_epochs=2", environment=secret)
    assert stolen.returncode == 1
    assert "refused: seed is an interpolation (${oc.env:SECRET})" in stolen.stderr
    assert not [
        path for path in (tmp_path / "foreign").rglob("*")
        if path.is_file() and b"314159" in path.read_bytes()
    ]  # fmt: skip
    on = run_script("train.py", "resume=out", "data.path=new/r.csv", "trainer.max_epochs=2")
    assert on.returncode == 0, on.stderr
    assert numbers(tmp_path / "out")["epochs"] == 2
    # Other ratings under the new name are noticed.
    (tmp_path / "new" / "r.csv").write_text("user,item,rating\n" + "\n".join(reversed(lines)))
    other = run_script("evaluate.py", "run=out", "data.path=new/r.csv")
    assert other.returncode == 1
    assert "belongs to other data" in other.stderr
