"""Notebooks of docs/, executed; `python -m website.notebook_run` stores their outputs."""

import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

DOCS = Path(__file__).parents[1] / "docs"
# Of the card of a run, which says when it ended.
ENDED = re.compile(r" <span[^>]*>· \d{4}-\d\d-\d\d \d\d:\d\d</span>")
# Of a cell, for the slowest of machines.
SECONDS = 900


def executed(path: Path, folder: str | Path) -> NotebookNode:
    """A notebook with the outputs that it has today.

    Args:
        path: of the notebook.
        folder: the working folder of its kernel.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    # A kernel alone has no widgets, which no cell needs.
    quiet = {"PYTHONWARNINGS": "ignore:IProgress not found"}
    done: NotebookNode = client.execute(env={**os.environ, **quiet})
    # What differs from machine to machine.
    done.metadata["language_info"] = {"name": "python"}
    for cell in done.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = ENDED.sub("", data["text/html"])
    return done


if __name__ == "__main__":
    for each in sorted(DOCS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as working:
            nbformat.write(executed(each, working), each)
