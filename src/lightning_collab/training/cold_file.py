"""What a run keeps of users and items without training ratings, beside the checkpoint it is of."""

from collections.abc import Mapping
from typing import Any

import torch

from lightning_collab.data.vocabulary import Side, Vocabulary
from lightning_collab.errors import CheckpointError
from lightning_collab.models.cold_rows import ColdSide
from lightning_collab.runs.checkpoints import read_tensors, steps_of_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import atomic_file


def write_cold_rows(run: RunDirectory, cold: Mapping[Side, ColdSide], steps: int) -> None:
    """Keep the rows of a run, whole or not at all.

    Args:
        run: the run directory.
        cold: by side.
        steps: optimizer steps of the checkpoint that they are of.
    """
    content = {"steps": steps, "sides": {side: each.state() for side, each in cold.items()}}
    with atomic_file(run.cold_file) as file:
        torch.save(content, file)


def read_cold_rows(run: RunDirectory, checkpoint: Mapping[str, Any]) -> dict[Side, ColdSide]:
    """The rows that a run has kept.

    Args:
        run: the run directory.
        checkpoint: the content of the one that is used.

    Returns:
        By side; empty where there are none, or those of another checkpoint.

    Raises:
        CheckpointError: the file is not readable.
    """
    if not run.cold_file.is_file():
        return {}
    content = read_tensors(run.cold_file)
    try:
        if content["steps"] != steps_of_checkpoint(checkpoint):
            return {}
        return {side: ColdSide.from_state(each) for side, each in content["sides"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{run.cold_file}: not a row file of lightning-collab ({error}); remove it, and "
            "only users and items with training ratings are known"
        ) from error


def vocabularies_with(
    cold: Mapping[Side, ColdSide], vocabularies: Mapping[Side, Vocabulary]
) -> dict[Side, Vocabulary]:
    """The ids of an extended model's rows.

    Args:
        cold: by side.
        vocabularies: of the model as it was trained.
    """
    return {
        side: vocabulary.with_cold(cold[side].ids) if side in cold else vocabulary
        for side, vocabulary in vocabularies.items()
    }
