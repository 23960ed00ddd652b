"""An environment of its own for each other package, made where it is first needed."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# By what pip installs them; what is asked for beside a package is the newest that it runs with.
REQUIREMENTS = {
    "cornac": ("cornac==3.0.1",),
    "fastai": ("fastai==2.8.12", "torch==2.14.1", "torchvision==0.29.1"),
    "implicit": ("implicit==0.7.3",),
    "lenskit": ("lenskit==2025.8.1", "torch==2.13.0"),
    "libmf": ("libmf==0.9.2",),
    "lightfm": ("lightfm==1.17",),
    "myfm": ("myfm==0.4.0",),
    "recbole": ("recbole==1.2.1", "torch==2.13.0", "numpy<2", "scipy<1.12", "pandas<3"),
    "surprise": ("scikit-surprise==1.1.5",),
}


FOLDER = Path("outputs/environments")

log = logging.getLogger(__name__)


class Environment(NamedTuple):
    """Where a package is, or why it is not.

    Attributes:
        python: its interpreter; None: it could not be installed.
        problem: what pip said of that.
    """

    python: str | None
    problem: str = ""


def version(package: str) -> str:
    """As the tables name it: `cornac 3.0.1`."""
    return REQUIREMENTS[package][0].replace("==", " ")


def environment_of(package: str, named: str | None = None) -> Environment:
    """Where a package is; it is installed into `FOLDER` where it is not yet.

    Args:
        package: a key of `REQUIREMENTS`.
        named: an interpreter that has it; nothing is installed then.
    """
    if named is not None:
        problem = _run([named, "-c", f"import {package}"])
        return Environment(None, f"{named}: {problem}") if problem else Environment(named)
    place = FOLDER.absolute() / package
    python, done = place / "bin" / "python", place / "installed"
    asked = " ".join(REQUIREMENTS[package])
    if not done.is_file() or done.read_text() != asked:
        log.info("installing %s into %s", asked, place)
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        problem = _run([*pip, *REQUIREMENTS[package]])
        if problem:
            return Environment(None, f"pip install {asked}: {problem}")
        done.write_text(asked)
    return Environment(str(python))


def _run(command: Sequence[str]) -> str:
    """What went wrong, by the last line that names an error; empty: nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"it does not start ({error.strerror})"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines()]
    # What a build raises is said before pip's own `error: subprocess-exited-with-error`.
    said = [line for kind in ("error: ", "Error: ") for line in lines if kind in line]
    return said[-1] if said else f"it ended with status {done.returncode}"
