"""Checkpoint files are written whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from lightning_collab.errors import StorageError
from lightning_collab.training.checkpoints import read_checkpoint
from lightning_collab.training.whole_file import whole_file


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all; reads tensors and primitives only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Replace the file at `path` by this checkpoint.

        Raises:
            StorageError: the folder cannot be written or the disk is full; a file that was there
                before is still whole.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError of its own.
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise StorageError.of(cause, target) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, on the processor unless told otherwise."""
        return read_checkpoint(Path(path), map_location=map_location)
