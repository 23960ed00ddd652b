"""Reading checkpoint files, which are never able to run code."""

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_collab.errors import CheckpointError
from lightning_collab.runs.directory import RunDirectory

CHECKPOINTS = ("best", "last")
# What makes a checkpoint one of ours.
NEEDED = ("state_dict", "vocabularies", "config")
READ_AT_A_TIME = 1 << 20


def read_checkpoint(
    path: Path, map_location: Callable[..., Any] | str | None = "cpu", *, mapped: bool = False
) -> dict[str, Any]:
    """The content of a checkpoint file: tensors and primitives.

    Args:
        path: of the file.
        map_location: as for `torch.load`.
        mapped: tensors stay in the file until they are looked at, for a rank that needs a part.

    Raises:
        CheckpointError: no such file, or it is cut short or not a checkpoint, or there
            is something in it that could run code (which then is not run).
    """
    content = read_tensors(path, map_location, mapped=mapped)
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise CheckpointError(
            f"{path}: not a model of lightning-collab (it has no {' and no '.join(missing)})"
        )
    return content


def read_tensors(
    path: Path, map_location: Callable[..., Any] | str | None = "cpu", *, mapped: bool = False
) -> dict[str, Any]:
    """The content of a file of tensors and primitives by name, whatever they are.

    Args:
        path: of the file.
        map_location: as for `torch.load`.
        mapped: tensors stay in the file until they are looked at.

    Raises:
        CheckpointError: as of `read_checkpoint`.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    not_whole = (
        f"{path}: not a complete checkpoint of lightning-collab ({path.stat().st_size} bytes)"
    )
    _check_archive(path, mapped=mapped)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # torch's own message advises to load it all the same.
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise CheckpointError(
                f"{not_whole}: it holds more than tensors and plain values. None of it was executed"
            ) from error
        raise CheckpointError(
            f"{path}: refused: beside tensors and plain values it holds {found[1]}, which could "
            "run code. None of it was executed. No checkpoint of lightning-collab has that; get "
            "the file again from whoever made it, or train again"
        ) from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{not_whole}: {reason}") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: not a model of lightning-collab (it has no {' and no '.join(NEEDED)})"
        )
    result: dict[str, Any] = content
    return result


def steps_of_checkpoint(content: Mapping[str, Any]) -> int:
    """Optimizer steps that had been taken when a checkpoint was written."""
    # Lightning's own count may be of blocks of steps; earlier versions had it count each.
    return int(content.get("steps_done", content["global_step"]))


def _check_archive(path: Path, *, mapped: bool) -> None:
    """Refuse a file that is not as torch wrote it, before anything of it is taken.

    Torch stores tensors as they are; a packed or overlapping member is a bomb. Each member has a
    sum, which torch writes and does not look at.

    Args:
        path: of the file.
        mapped: only parts of it are wanted, so that it is not read whole for its sums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or sum(member.file_size for member in members) > path.stat().st_size:
                raise CheckpointError(
                    f"{path}: refused: it would unpack to more than its "
                    f"{path.stat().st_size:,} bytes, and no checkpoint of lightning-collab is "
                    "compressed"
                )
            for member in () if mapped else members:
                with archive.open(member) as file:
                    while file.read(READ_AT_A_TIME):
                        pass
    except CheckpointError:
        raise
    except Exception as error:
        if isinstance(error, zipfile.BadZipFile) and "CRC" not in str(error):
            return  # no archive, or cut short: torch says so
        raise CheckpointError(
            f"{path}: altered since it was written ({str(error) or type(error).__name__}). Get the "
            "file again, or use another checkpoint of the run"
        ) from error


def checkpoint_of(run: RunDirectory, which: str) -> Path:
    """The file that the user means.

    Args:
        run: the run directory.
        which: `best`, `last`, or the path of a file.

    Raises:
        CheckpointError: no such file.
    """
    if which not in CHECKPOINTS:
        return Path(which)
    path = run.checkpoints / f"{which}.ckpt"
    if which == "best" and not path.is_file() and run.last_checkpoint.is_file():
        raise CheckpointError(
            f"{path}: it does not exist, since the run had no validation part; set checkpoint=last"
        )
    return path
