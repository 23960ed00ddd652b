"""Dropout whose masks belong to the batch, not to the process."""

import torch
from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch


class BatchDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with masks drawn from `batch.draw_seed`.

    The mask of the whole batch is drawn on every rank and each takes its rows of it, so that any
    number of ranks trains the same network, and a resumed run the same as an uninterrupted one.

    Args:
        probability: of an entry to be zeroed; the others are scaled by 1/(1 - probability).
        stream: tells apart the layers of one model.
    """

    def __init__(self, probability: float, stream: int) -> None:
        super().__init__()
        self.probability = probability
        self.stream = stream

    def forward(self, x: Tensor, batch: RatingBatch) -> Tensor:
        """Entries dropped while training, `x` itself otherwise.

        Args:
            x: float [B, width].
            batch: the batch that `x` was made of.
        """
        if not self.training or self.probability == 0:
            return x
        generator = torch.Generator(x.device).manual_seed(2 * batch.draw_seed + self.stream)
        rows = batch.whole_size or len(x)
        kept = torch.empty(rows, x.shape[1], device=x.device, dtype=x.dtype)
        kept.bernoulli_(1 - self.probability, generator=generator)
        return x * kept[batch.start : batch.start + len(x)] / (1 - self.probability)

    def extra_repr(self) -> str:
        """For printing."""
        return f"probability={self.probability}"
