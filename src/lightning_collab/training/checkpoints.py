"""Checkpoint files: whole or not there, and never able to run code when they are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from lightning_collab.errors import CheckpointError
from lightning_collab.training.whole_file import whole_file


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all; reads tensors and primitives only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Replace the file at `path` by this checkpoint.

        Raises:
            CheckpointError: the folder cannot be written or the disk is full; a file that was
                there before is still whole.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError of its own.
            raise CheckpointError(f"cannot write the checkpoint {target}: {error}") from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, on the processor unless told otherwise."""
        return read_checkpoint(Path(path), map_location=map_location)


def read_checkpoint(
    path: Path, map_location: Callable[..., Any] | str | None = "cpu"
) -> dict[str, Any]:
    """The content of a checkpoint file: tensors and primitives.

    Args:
        path: of the file.
        map_location: as for `torch.load`.

    Raises:
        CheckpointError: there is no such file, or it is cut short or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a whole checkpoint of lightning-collab ({path.stat().st_size} bytes): "
            f"{reason}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path}: a file without a model in it")
    return content
