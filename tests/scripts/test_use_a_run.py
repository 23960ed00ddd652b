"""predict, recommend and export as a person runs them: fresh processes, relative paths."""

import re
import shutil
import subprocess
import sys

import polars as pl
import pytest
from film_runs import film_run  # noqa: F401 (a fixture)
from support import REPOSITORY


@pytest.fixture
def run_in_process(film_run, tmp_path):  # noqa: F811
    shutil.copytree(film_run.directory.path, tmp_path / "run")
    return tmp_path


def test_predictions_of_a_piece_of_the_run(run_in_process, run_script):
    (run_in_process / "pairs.csv").write_text("userId,movieId\n500,10\n500,98\n1,11\n")
    asked = ["run=run", "input=pairs.csv", "output=predictions.parquet"]
    done = run_script("predict.py", *asked)
    assert done.returncode == 0, done.stderr
    assert "3 predictions (1 of unknown users, 1 of unknown items)" in done.stdout
    found = pl.read_parquet(run_in_process / "predictions.parquet")
    assert found["known_user"].to_list() == [True, True, False]
    assert {path.name for path in run_in_process.iterdir()} == {
        "run",
        "pairs.csv",
        "predictions.parquet",
    }


@pytest.mark.slow
def test_recommendations_to_somebody_new(run_in_process, run_script):
    done = run_script("recommend.py", "run=run", "ratings={11:5,14:5}", "top_k=4")
    assert done.returncode == 0, done.stderr
    assert "for somebody with 2 ratings" in done.stdout


def test_an_unknown_user_is_one_clear_line(run_in_process, run_script):
    unknown = run_script("recommend.py", "run=run", "user=5000")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("error: there is no user 5000; the run knows 60 users")
    assert "Traceback" not in unknown.stderr
    assert [path.name for path in run_in_process.iterdir()] == ["run"]


@pytest.mark.slow
def test_an_export_is_a_folder(run_in_process, run_script):
    done = run_script("export.py", "run=run", "format=safetensors", "output=model")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (run_in_process / "model").iterdir()}
    assert names == {"model.safetensors", "vocabularies.json", "README.md"}


@pytest.mark.parametrize("script", ["predict", "recommend", "export"])
def test_help_is_for_people_and_loads_no_torch(script):
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path('scripts/{script}.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rf"scripts/{script}\.py run=outputs/train/<run>", done.stdout)
    assert "run: null" in done.stdout
