"""Hydra finds the sweepers, and pays nothing for them until one runs."""

import subprocess
import sys

from setuptools import find_namespace_packages
from support import REPOSITORY


def test_hydra_finds_the_sweepers_without_loading_torch_or_optuna():
    code = (
        "import sys\n"
        "from hydra.core.plugins import Plugins\n"
        "from hydra.plugins.sweeper import Sweeper\n"
        "print(*(each.__name__ for each in Plugins.instance().discover(Sweeper)))\n"
        "print(*sorted({'torch', 'optuna', 'pytorch_lightning'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sweepers, loaded = done.stdout.splitlines()
    assert {"OptunaStudySweeper", "GridSweeper"} <= set(sweepers.split())
    assert loaded == ""
    assert done.stderr == ""


def test_the_plugin_is_shipped_as_a_namespace_package():
    assert "hydra_plugins.lightning_collab_sweepers" in find_namespace_packages(
        str(REPOSITORY / "src")
    )
    assert not (REPOSITORY / "src" / "hydra_plugins" / "__init__.py").exists()
