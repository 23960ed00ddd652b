"""How commands say what they have done."""

import os
from pathlib import Path

from rich.console import Console


def say(text: str) -> None:
    """Print a line as it is, however long.

    Args:
        text: names and paths in it may have square brackets.
    """
    Console().print(text, highlight=False, soft_wrap=True, markup=False)


def say_file(label: str, path: Path, more: str = "") -> None:
    """Print where a file is, seen from the working directory.

    Args:
        label: what it is.
        path: of the file.
        more: what else there is to say of it.
    """
    say(f"{label:<8}{os.path.relpath(path)}{more}")
