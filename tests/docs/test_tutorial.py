"""The notebook runs, and what it says is what comes of it."""

import ast
import json
import os
import re

import nbformat
import pytest
from support import REPOSITORY

PATH = REPOSITORY / "docs" / "tutorial.ipynb"
NOTEBOOK = nbformat.read(PATH, as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
TEXT = "\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")
# What the text speaks of, in names of the notebook.
NUMBERS = """
import json
print(json.dumps({
    "ratings": len(ratings), "people": len(users), "films": len(films),
    "test": run.metrics["test/rmse"], "biases": run.metrics["baseline/bias_rmse"],
    "factors": run.config["model"]["factors"], "trials": len(study.trials), "mine": len(mine),
    "losses": losses.rows_by_key("by", named=True, unique=True),
    "loss": run.curves().filter(name="train/loss")["value"].to_list(),
    "val": run.curves().filter(name="val/loss")["value"].to_list(),
}))
"""


def test_each_cell_parses():
    assert len(CODE) > 12
    for cell in CODE:
        ast.parse(cell.source)


def test_outputs_are_stored_and_none_is_an_error():
    nbformat.validate(NOTEBOOK)
    assert [cell.execution_count for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell.outputs]
    assert all(cell.outputs for cell in CODE)
    assert {output.output_type for output in outputs} <= {"execute_result", "stream"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_nothing_stored_is_of_one_machine():
    content = PATH.read_text()
    assert len(content) < 1_000_000
    shown = re.sub(r'"image/png": "[^"]*"', "", content)
    assert not re.search(r"(?<![\w<.:/])/(?:home|root|tmp|work|usr|var|opt|Users)/", shown)
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|iopub|it/s", shown)
    assert set(NOTEBOOK.metadata) == {"kernelspec", "language_info"}
    assert all(not cell.metadata for cell in NOTEBOOK.cells)


def test_links_of_the_notebook_are_there():
    found = re.findall(r"\]\(([^)#]+)", TEXT)
    assert found
    for target in found:
        assert target.startswith("https://") or (PATH.parent / target).is_file(), target


def test_it_is_linked():
    for page in ("README.md", "docs/python.md", "docs/index.md"):
        assert "tutorial.ipynb" in (REPOSITORY / page).read_text(), page


@pytest.mark.slow
def test_it_runs_and_says_what_comes_of_it(ml_100k, tmp_path, monkeypatch):
    from website.notebook_run import executed

    if data := os.environ.get("LIGHTNING_COLLAB_DATA"):
        monkeypatch.setenv("LIGHTNING_COLLAB_DATA", os.path.realpath(data))
    longer = nbformat.from_dict(NOTEBOOK)
    longer.cells.append(nbformat.v4.new_code_cell(NUMBERS, id="numbers"))
    nbformat.write(longer, tmp_path / PATH.name)
    done = executed(tmp_path / PATH.name, tmp_path)
    found = json.loads(done.cells[-1].outputs[0].text)
    words = " ".join(TEXT.split())

    assert f"{found['people']} people rated {found['films']:,} films" in words
    assert found["ratings"] == len(ml_100k)
    assert stated(r"error on the test part is about ([\d.]+) stars") == close(found["test"], 0.005)
    assert stated(r"come to ([\d.]+)") == close(found["biases"], 0.005)
    assert stated(r"a vector of (\d+) numbers") == found["factors"]
    assert (found["mine"], found["trials"]) == (10, 5)
    # The training loss goes on falling where the validation loss stands still.
    half = len(found["val"]) // 2
    assert found["loss"][-1] < 0.75 * found["loss"][half]
    assert found["val"][-1] == pytest.approx(found["val"][half], rel=0.03)
    assert found["val"][-1] > min(found["val"])
    losses = found["losses"]
    stars, popular = losses["squared_error"], losses["most popular"]
    assert losses["softmax"]["ndcg"] / stars["ndcg"] == close(4, 0.4)
    assert stars["ndcg"] < popular["ndcg"] < losses["EASE"]["ndcg"]


def stated(pattern):
    return float(re.search(pattern, " ".join(TEXT.split()))[1])


def close(number, within):
    return pytest.approx(number, abs=within)
