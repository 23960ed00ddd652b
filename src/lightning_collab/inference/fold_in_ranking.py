"""A user whom a model that ranks was not trained on, from what that user chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.config.model import Loss as LossSection
from lightning_collab.config.model import Positives
from lightning_collab.config.optimizer import AdamConfig, Optimizer, TableGroupConfig
from lightning_collab.config.section import Section, checked
from lightning_collab.errors import ConfigError
from lightning_collab.losses import PairwiseLoss, UserLoss, build_loss
from lightning_collab.models.ease import Ease
from lightning_collab.models.factors import ImplicitFactors
from lightning_collab.models.item_scores import DotProductScores, ItemScores, UserRows
from lightning_collab.training.trained_model import TrainedModel

# Steps of Adam from zero, and the rate of the first, which falls to none in a straight line.
PASSES, RATE = 20, 0.3
BETA1, BETA2, EPS = 0.5, 0.99, 1e-8


class _Sections(Section):
    """Of a run's config, what a user's row follows from."""

    loss: LossSection
    optimizer: Optimizer = AdamConfig()


@dataclass(frozen=True, eq=False)
class RankingUsers:
    """How the row of a user is found from items that the user chose, by the run's own loss.

    The loss of the training, with the items held, is made small for one row, with the weight decay
    that a user of so many choices has in the training: see `RowDecay`. In place of drawn items, a
    loss that draws is taken over all items that the user did not choose, in the mean.

    Attributes:
        loss: of the run.
        decays: of the factors and of the bias of a user; 0 where there is none.
        power: that a number of choices is raised to.
        mean_count: choices of a user in the mean.
        items: that the run was trained on; others are no negatives. None: all.
    """

    loss: Any
    decays: dict[str, float]
    power: float
    mean_count: float
    items: int | None = None

    @classmethod
    def of(cls, run: TrainedModel) -> RankingUsers:
        """What the config and the history of a run say.

        Args:
            run: the trained run.

        Raises:
            ConfigError: the run was not trained by a loss that ranks.
            CheckpointError: the run does not know what its users chose.
        """
        keys = [key for key in _Sections.model_fields if key in run.config]
        sections = checked(_Sections, {key: run.config[key] for key in keys})
        loss = build_loss(sections.loss)
        if not isinstance(loss, PairwiseLoss | UserLoss):
            raise ConfigError(
                f"items: {run.model_name} was not trained with a ranking loss, so that items "
                "alone do not describe a user; train with loss=softmax"
            )
        optimizer = sections.optimizer
        history = run.history.trained()
        users = np.repeat(np.arange(len(history.starts) - 1), np.diff(history.starts))
        chosen = is_chosen(getattr(sections.loss, "positives", "all"), history.ratings)
        counts = np.bincount(users[chosen], minlength=len(history.starts) - 1)
        counts = counts[1 : run.user_vocabulary.warm + 1]
        return cls(
            loss,
            {group: _decay(optimizer, group) for group in ("embeddings", "biases")},
            optimizer.frequency_power,
            float(max(counts.mean(), 1e-12)),
            run.item_vocabulary.warm,
        )

    @property
    def positives(self) -> Positives:
        """The lowest rating that says that an item was chosen."""
        found: Positives = getattr(self.loss.config, "positives", "all")
        return found

    def rows_of_user(
        self, scores: ItemScores, chosen: NDArray[np.int32], disliked: NDArray[np.int32]
    ) -> UserRows:
        """The table rows of one user.

        Args:
            scores: of the trained model, raw.
            chosen: int32 [n], rows of the items that the user chose.
            disliked: int32 [m], rows of items that the user rated and did not choose; no negatives
                where the run's loss ignores them.
        """
        barred = np.zeros(scores.items, dtype=bool)
        if getattr(self.loss.config, "dislikes", "negative") == "ignore":
            barred[disliked - 1] = True
        if self.items is not None:
            barred[self.items :] = True
        barred[chosen - 1] = False
        by_frequency = len(chosen) ** self.power * self.mean_count ** (1 - self.power)
        decays = {group: decay * by_frequency for group, decay in self.decays.items()}
        by_softmax = isinstance(self.loss, UserLoss) and self.loss.config.name == "softmax"
        if by_softmax and isinstance(scores, DotProductScores):
            return self._by_hand(scores, chosen - 1, barred, decays["embeddings"])
        return self._by_autograd(scores, chosen - 1, barred, decays)

    def _by_hand(
        self,
        scores: DotProductScores,
        columns: NDArray[np.int32],
        barred: NDArray[np.bool_],
        decay: float,
    ) -> UserRows:
        """Softmax of a dot product, a few products of a matrix and a vector a step."""
        tables = scores.tables
        factors = tables["embeddings"]["items"][1:].float().numpy()
        levels = np.zeros(len(factors), dtype=np.float32)
        if "biases" in tables:
            levels += tables["biases"]["items"][1:, 0].float().numpy()
        levels[barred] = -np.inf
        total = factors[columns].sum(0)
        row = np.zeros(factors.shape[1], dtype=np.float32)
        first, second = np.zeros_like(row), np.zeros_like(row)
        count = len(columns)
        for step in range(1, PASSES + 1):
            found = factors @ row + levels
            shares = np.exp(found - found.max())
            slope = (count / shares.sum()) * (shares @ factors) - total + decay * row
            first = BETA1 * first + (1 - BETA1) * slope
            second = BETA2 * second + (1 - BETA2) * slope * slope
            rate = RATE * (1 - (step - 1) / PASSES) / (1 - BETA1**step)
            row -= rate * first / (np.sqrt(second / (1 - BETA2**step)) + EPS)
        rows = {"embeddings": torch.from_numpy(row)[None]}
        if "biases" in tables:
            rows["biases"] = torch.zeros(1, 1)
        return rows

    def _by_autograd(
        self,
        scores: ItemScores,
        columns: NDArray[np.int32],
        barred: NDArray[np.bool_],
        decays: dict[str, float],
    ) -> UserRows:
        """Any loss and model."""
        rows = {
            group: torch.zeros(1, table["users"].shape[1], requires_grad=True)
            for group, table in scores.tables.items()
        }
        others = ~barred
        others[columns] = False
        chosen, left = torch.from_numpy(columns).long(), torch.from_numpy(np.flatnonzero(others))
        outside = torch.from_numpy(barred)
        optimizer = torch.optim.Adam(list(rows.values()), lr=RATE, betas=(BETA1, BETA2), eps=EPS)
        with torch.enable_grad():
            for step in range(PASSES):
                optimizer.param_groups[0]["lr"] = RATE * (1 - step / PASSES)
                optimizer.zero_grad()
                found = scores.of_rows(rows)[0]
                loss = self._loss_of(found, chosen, left, outside)
                for group, decay in decays.items():
                    if group in rows:
                        loss = loss + decay / 2 * rows[group].square().sum()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return {group: row.detach() for group, row in rows.items()}

    def _loss_of(self, scores: Tensor, chosen: Tensor, left: Tensor, outside: Tensor) -> Tensor:
        if isinstance(self.loss, UserLoss):
            whole = scores.masked_fill(outside, -torch.inf)[None]
            of_user: Tensor = self.loss(whole, torch.zeros_like(chosen), chosen)
            return of_user
        # As many drawn items as there are of them, all alike: each choice with all others, and
        # these as often in the mean as the training draws.
        loss: PairwiseLoss = self.loss
        own = scores[chosen]
        nothing = own.new_zeros(len(own), 0)
        alone = loss(own, nothing)
        drawn = scores[left].expand(len(own), -1)
        share = loss.negatives / max(len(left), 1)
        return alone + share * (loss(own, drawn) - alone)


@dataclass(frozen=True, eq=False)
class ImplicitUsers:
    """The row of a user of a model that is solved for: of iALS one small linear system.

    Attributes:
        model: of the run.
        items: that the run was trained on, and counts as not chosen; None: all.
    """

    model: ImplicitFactors | Ease
    items: int | None = None

    @property
    def positives(self) -> Positives:
        """The lowest rating that says that an item was chosen."""
        return self.model.config.positives

    def rows_of_user(
        self, scores: ItemScores, chosen: NDArray[np.int32], disliked: NDArray[np.int32]
    ) -> UserRows:
        """The table rows of one user; see `RankingUsers.rows_of_user`."""
        if isinstance(self.model, Ease):
            own = torch.zeros(1, scores.items)
            own[0, torch.from_numpy(chosen).long() - 1] = 1
            return {"chosen": own}
        config = self.model.config
        items = scores.tables["embeddings"]["items"][1:].double()
        own = items[torch.from_numpy(chosen).long() - 1]
        items = items[: self.items]
        counts = len(chosen) + config.unobserved_weight * len(items)
        system = config.unobserved_weight * (items.T @ items) + own.T @ own
        system.diagonal().add_(config.regularization * counts**config.frequency_scaling)
        row = torch.linalg.solve(system, own.sum(0))
        return {"embeddings": row.float()[None]}


def is_chosen(positives: Positives, ratings: NDArray[Any] | Sequence[float]) -> NDArray[np.bool_]:
    """Which ratings say that an item was chosen.

    Args:
        positives: the lowest one that does; `all`: each of them.
        ratings: [n], in rating units.
    """
    values = np.asarray(ratings, dtype=np.float32)
    if positives == "all":
        return np.ones(len(values), dtype=bool)
    chosen: NDArray[np.bool_] = values >= positives
    return chosen


def _decay(optimizer: Any, group: str) -> float:
    """The weight decay of users' rows in a group, where it is on rows."""
    if optimizer.decay != "per_row":
        return 0.0
    own = optimizer.groups.named(group)
    decay = optimizer.weight_decay if own.weight_decay is None else own.weight_decay
    if isinstance(own, TableGroupConfig) and own.users.weight_decay is not None:
        decay = own.users.weight_decay
    return float(decay)
