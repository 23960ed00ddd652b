"""Reading checkpoint files, which are never able to run code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightning_collab.errors import CheckpointError
from lightning_collab.training.run_directory import RunDirectory

CHECKPOINTS = ("best", "last")


def read_checkpoint(
    path: Path, map_location: Callable[..., Any] | str | None = "cpu", *, mapped: bool = False
) -> dict[str, Any]:
    """The content of a checkpoint file: tensors and primitives.

    Args:
        path: of the file.
        map_location: as for `torch.load`.
        mapped: tensors stay in the file until they are looked at, for a rank that needs a part.

    Raises:
        CheckpointError: there is no such file, or it is cut short or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a whole checkpoint of lightning-collab ({path.stat().st_size} bytes): "
            f"{reason}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path}: a file without a model in it")
    return content


def checkpoint_of(run: RunDirectory, which: str) -> Path:
    """The file that a person means.

    Args:
        run: the run directory.
        which: `best`, `last`, or the path of a file.

    Raises:
        CheckpointError: there is no such file.
    """
    if which not in CHECKPOINTS:
        return Path(which)
    path = run.checkpoints / f"{which}.ckpt"
    if which == "best" and not path.is_file() and run.last_checkpoint.is_file():
        raise CheckpointError(
            f"{path}: there is none, since the run had no validation part; say checkpoint=last"
        )
    return path
