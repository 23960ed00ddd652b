"""The README's commands, one after the other, as a person types them."""

import json
import os
import re
import subprocess
import sys

import pytest
from support import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What is trained is not looked at here, so a few steps an epoch will do.
SHORTER = "trainer.limit_train_batches=5"


def section(title):
    if title is None:  # what comes before the first
        return README.split("\n## ")[0]
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands(title):
    lines = [line.split("  #")[0].strip() for line in SHELL.findall(section(title))[0].splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run a line of the README in a folder where `scripts/...` means ours."""
    folder = tmp_path_factory.mktemp("reader")
    data = os.environ.get("LIGHTNING_COLLAB_DATA")
    found = {"LIGHTNING_COLLAB_DATA": os.path.realpath(data)} if data else {}

    def run(line, *further):
        runs = sorted((folder / "outputs" / "train").glob("*"))
        line = line.replace("<run>", runs[0].name if runs else "<run>")
        line = re.sub(r"^scripts/", f"{sys.executable} {REPOSITORY}/scripts/", line)
        done = subprocess.run(
            ["bash", "-c", " ".join([line, *further])],
            cwd=folder,
            env={**os.environ, **found},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    run.folder = folder
    # What `make train` does.
    run.said = run("scripts/train.py callbacks.report.map=pca").stdout
    return run


ROW = re.compile(r"^ *(\S.*?)  +([\d. ]*\d\.\d{4})\s*$", re.MULTILINE)


def table(text):
    """The rows of a printed table: names, and the numbers of each."""
    return {
        name.strip(): [float(cell) for cell in cells.split()] for name, cells in ROW.findall(text)
    }


@pytest.mark.slow
def test_the_first_table_is_what_the_first_command_prints(shell):
    stated, printed = table(section("Start")), table(shell.said)
    assert list(stated) == list(printed)
    assert len(stated) == 5
    for name, numbers in stated.items():
        # Of a cold row some twenty ratings; the last digits differ from processor to processor.
        assert printed[name] == pytest.approx(numbers, abs=0.02 if "cold" in name else 0.002)


def test_there_are_commands():
    assert len(commands("Train")) >= 9
    assert len(commands("Use")) >= 5
    assert PYTHON.search(section("Use"))


def test_python_from_a_frame_to_recommendations(tmp_path):
    """The lines as they are, in an empty folder and a process of their own."""
    (code,) = PYTHON.findall(section("From Python"))
    assert len([line for line in code.splitlines() if line]) <= 11
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "train").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test/rmse"] < 0.8 * metrics["baseline/bias_rmse"]
    assert (run / "report.html").is_file()
    # Customers like what has their remainder of three.
    recommended = re.findall(r"^│ (\d+) ", done.stdout.split("because_of")[1], re.MULTILINE)[:5]
    assert {int(item) % 3 for item in recommended} == {17 % 3}


@pytest.mark.slow
def test_the_commands_of_training(shell):
    for line in commands("Train"):
        trains = "evaluate.py" not in line
        shell(line, *([SHORTER] if trains else []))


@pytest.mark.slow
def test_the_commands_of_the_first_screen(shell):
    """A run that ranks as well as the table beside it says."""
    for line in commands(None):
        shell(line)
    metrics = json.loads((shell.folder / "outputs" / "rank" / "metrics.json").read_text())
    names = ("baseline/most_popular", "baseline/item_knn", "baseline/ease", "test")
    ranking = section(None).split("test NDCG@10 |")[1]
    stated = [float(each) for each in re.findall(r"\| \**(0\.\d{3})\** \|", ranking)]
    for name, number in zip(names, stated[:4], strict=True):
        assert metrics[f"{name}/ndcg@10"] == pytest.approx(number, abs=0.004)


MEASURED = re.compile(r"`(scripts/train\.py[^`]*)`\** \| \**(\d\.\d{3})\** \|")


@pytest.mark.slow
def test_the_errors_of_the_first_screen_are_those_of_the_commands_beside_them(shell):
    errors = section(None).split("NDCG@10 |")[0]
    (plain, stated), (everything, least) = MEASURED.findall(errors)
    assert plain == "scripts/train.py"
    assert table(shell.said)["embedding_dot_bias"][2] == pytest.approx(float(stated), abs=0.004)
    shell(f"{everything} hydra.run.dir=outputs/everything", "callbacks.report=null")
    metrics = json.loads((shell.folder / "outputs" / "everything" / "metrics.json").read_text())
    assert metrics["test/rmse"] == pytest.approx(float(least), abs=0.004)
    baselines = [float(each) for each in re.findall(r"\| (\d\.\d{3}) \|", errors)[:2]]
    found = [metrics[f"baseline/{name}_rmse"] for name in ("mean", "bias")]
    assert found == pytest.approx(baselines, abs=0.001)


@pytest.mark.slow
def test_the_commands_of_using_a_run(shell):
    for line in commands("Use"):
        shell(line)
    written = {path.name for path in shell.folder.iterdir()}
    assert {"recommendations.parquet", "pairs.csv", "predictions.parquet"} < written
    (code,) = PYTHON.findall(section("Use"))
    run = sorted((shell.folder / "outputs" / "train").glob("*"))[0]
    before = os.getcwd()  # noqa: PTH109
    os.chdir(shell.folder)
    try:
        exec(compile(code.replace("<run>", run.name), "README.md", "exec"), {})
    finally:
        os.chdir(before)
