"""EASE as an optimizer, whose one step finds the weights."""

from collections.abc import Callable
from typing import Any

import torch

from lightning_collab.data.ranking_batches import Choices
from lightning_collab.models.ease import Ease


class ClosedForm(torch.optim.Optimizer):
    """Finds the weights of a model at each step, which are the same ones.

    Args:
        model: EASE; its weights are found on the CPU, wherever it is.
        chosen: what users chose, of the model's rows.
    """

    def __init__(self, model: Ease, chosen: Choices) -> None:
        super().__init__(model.parameters(), {"lr": 1.0})
        self._model, self._chosen = model, chosen
        # Of the last step: squared errors and penalty, over the pairs of users and items.
        self.loss = 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Find the weights; `loss` then says what is left of the objective.

        With B the weights, G = X'X and its diagonal d, |X - XB|^2 + lambda |B|^2 is
        sum(d) - 2 <G, B> + <G B, B> + lambda |B|^2; at the minimum, where B is zero on its diagonal
        and (G + lambda) B - G is zero everywhere else, it is sum(d) - <G, B>.
        """
        gram = self._model.solve(self._chosen)
        entries = max(1, (self._chosen.user_counts > 0).sum() * len(self._model.weights))
        self.loss = (len(self._chosen) - gram) / entries
