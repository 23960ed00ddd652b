"""The wheel in a fresh environment, outside any clone: it trains, tunes, recommends, reports."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import REPOSITORY

pytestmark = pytest.mark.slow
QUICK = (
    "data=synthetic",
    "data.ratings=20000",
    "trainer.max_epochs=1",
    "callbacks.progress_bar=false",
)


def run(*words, folder, **variables):
    outside = {key: os.environ[key] for key in os.environ if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)),
        cwd=folder,
        env={**outside, "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def installed():
    """The folder of the programs of an environment that has the wheel and its dependencies."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY, folder=folder)
        (wheel,) = folder.glob("lightning_collab-*.whl")
        run(sys.executable, "-m", "venv", folder / "env", folder=folder)
        pins = ("--constraint", REPOSITORY / "constraints.txt")
        into = ("--python", folder / "env/bin/python")
        run(*pip, *into, "install", *pins, wheel, folder=folder)
        yield folder / "env/bin"


@pytest.fixture(scope="module")
def command(installed, tmp_path_factory):
    """Run `lightning-collab`, found on the path as in an activated environment."""
    folder = tmp_path_factory.mktemp("elsewhere")
    # Somebody's own checkout, whose commit is none of ours.
    run("git", "init", "--quiet", folder, folder=folder)
    path = os.pathsep.join([str(installed), os.environ["PATH"]])

    def called(*words):
        return run(installed / "lightning-collab", *words, folder=folder, PATH=path)

    called.folder = folder
    return called


@pytest.fixture(scope="module")
def trained(command):
    done = command("train", *QUICK, "hydra.run.dir=my run")
    assert "lightning-collab evaluate 'run=\"my run\"'" in done.stdout
    assert "tensorboard --logdir 'my run'" in done.stdout
    return done


def test_python_from_a_frame_to_recommendations(installed, command):
    readme = (REPOSITORY / "README.md").read_text()
    code = readme.split("## From Python")[1].split("```python\n")[1].split("```")[0]
    done = run(installed / "python", "-c", code, folder=command.folder)
    assert "because_of" in done.stdout


def test_a_run_has_its_report_and_no_commit_of_others(trained, command):
    run_dir = command.folder / "my run"
    assert (run_dir / "report.html").is_file()
    assert '"git_commit": null' in (run_dir / "metrics.json").read_text()
    # Without openTSNE, which is an extra.
    assert "pip install 'lightning-collab[tsne]'" in (run_dir / "train.log").read_text()
    assert "PCA" in (run_dir / "report.html").read_text()


def test_what_is_printed_can_be_pasted(trained, command, installed):
    (line,) = (each for each in trained.stdout.splitlines() if each.startswith("again"))
    path = os.pathsep.join([str(installed), os.environ["PATH"]])
    pasted = line.removeprefix("again").strip()
    done = run("bash", "-c", pasted, folder=command.folder, PATH=path)
    assert "test RMSE" in done.stdout


def test_it_recommends_and_reports(trained, command):
    done = command("recommend", 'run="my run"', "user=1", "top_k=3")
    assert "for user 1" in done.stdout
    command("report", 'runs=["my run"]', "output=again.html")
    assert (command.folder / "again.html").is_file()


def test_a_grid(command):
    done = command("train", "-m", "model.factors=8,16", *QUICK, "hydra.sweep.dir=grid")
    assert "2 jobs in grid" in done.stderr
    assert (command.folder / "grid/1_factors-16/metrics.json").is_file()


def test_a_grid_of_runs_with_two_ranks(command):
    command(
        *("train", "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=ranks"),
        *("trainer=ddp_cpu", "trainer.devices=2"),
    )
    assert '"ranks": 2' in (command.folder / "ranks/1_seed-2/metrics.json").read_text()


@pytest.mark.parametrize("how", ["console", "module"])
def test_two_ranks(how, command, installed):
    words = ("train", *QUICK, "trainer=ddp_cpu", "trainer.devices=2", f"hydra.run.dir={how}")
    if how == "console":
        command(*words)
    else:
        run(installed / "python", "-m", "lightning_collab", *words, folder=command.folder)
    assert '"ranks": 2' in (command.folder / how / "metrics.json").read_text()


def test_torchrun(command, installed):
    run(
        *(installed / "torchrun", "--nproc-per-node", "2", "-m", "lightning_collab", "train"),
        *(*QUICK, "trainer=ddp_cpu", "hydra.run.dir=torchrun"),
        folder=command.folder,
    )
    assert '"ranks": 2' in (command.folder / "torchrun/metrics.json").read_text()


def test_a_study_and_its_winner(command):
    sizes = ("hydra.sweeper.n_trials=4", "hydra.sweep.dir=study")
    done = command("train", "sweep=dot_bias", *sizes, *QUICK[:2])
    assert "the best, trained again:" in done.stdout
    assert "lightning-collab train --config-dir study experiment=best" in done.stdout
    assert (command.folder / "study/winner/metrics.json").is_file()
    assert (command.folder / "study/report.html").is_file()


def test_what_is_an_extra_is_named(command, installed):
    path = os.pathsep.join([str(installed), os.environ["PATH"]])
    done = subprocess.run(
        [installed / "lightning-collab", "train", "-m", "seed=1,2", "hydra/launcher=joblib"],
        cwd=command.folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'lightning-collab[joblib]'" in done.stderr


def test_nothing_of_the_repository_but_the_package_and_its_configs(installed):
    packages = next((installed.parent / "lib").glob("python*")) / "site-packages"
    assert (packages / "lightning_collab/conf/train.yaml").is_file()
    assert (packages / "lightning_collab/py.typed").is_file()
    assert list((packages / "lightning_collab").glob("*/templates/*.j2"))
    assert not list(packages.glob("benchmarks*"))
    assert shutil.which("lightning-collab", path=str(installed))
