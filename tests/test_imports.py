"""What is imported when: Lightning takes seconds, so only what trains or measures pays for it."""

import subprocess
import sys

import pytest
from support import REPOSITORY

HEAVY = (
    *("torch", "pytorch_lightning", "torchmetrics", "matplotlib", "sklearn", "optuna", "numba"),
    *("openTSNE", "umap", "onnx", "lightning_collab.inspection"),
)


def heavy_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh process has imported after some code."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_itself_needs_nothing():
    assert heavy_after("import lightning_collab") == set()


def test_a_config_is_checked_without_anything_heavy():
    code = (
        "sys.path.insert(0, 'tests/support')\n"
        "from support import composed\n"
        "from lightning_collab.config import validated\n"
        "validated(composed())"
    )
    assert heavy_after(code) == set()


@pytest.mark.parametrize("name", ["train", "similar"])
def test_help_needs_nothing_heavy(name):
    script = str(REPOSITORY / "scripts" / f"{name}.py")
    code = (
        "import runpy\n"
        f"sys.argv = [{script!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({script!r}, run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "print()"
    )
    assert heavy_after(code) == set()


def test_a_trained_run_is_used_without_lightning():
    assert heavy_after("from lightning_collab import load") == {"torch"}


def test_neighbors_and_maps_are_found_without_lightning():
    code = "import lightning_collab.commands.use_a_run, lightning_collab.commands.map_embeddings"
    assert heavy_after(code) == {"torch", "matplotlib", "lightning_collab.inspection"}


def test_a_run_imports_what_it_needs_before_its_first_step():
    loaded = heavy_after("import lightning_collab.commands.train, lightning_collab.commands.entry")
    assert "pytorch_lightning" in loaded
    assert not loaded & {"sklearn", "optuna", "openTSNE", "umap", "onnx"}
    assert "lightning_collab.inspection" not in loaded
