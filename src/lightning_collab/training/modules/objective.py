"""What a step makes small of a batch, by autograd: the loss of its kind, and the weight decay."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_collab.compat import all_norms, all_scaled
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.choice_batches import PairBatch, UserBatch
from lightning_collab.data.vocabulary import Side
from lightning_collab.losses import Loss, PairwiseLoss, PointwiseLoss, Softmax, UserLoss
from lightning_collab.models import RatingModel
from lightning_collab.models.rating_model import SIDES, EmbeddedBatch, paired

AnyBatch = TypeVar("AnyBatch")


class Term(NamedTuple):
    """Of a penalty: factor * sum over rows of weight * |row|^2.

    Attributes:
        rows: float, any shape; [n, width] where there are weights.
        factor: of all rows.
        weights: float [n], of each row; None: 1.
    """

    rows: Tensor
    factor: float
    weights: Tensor | None


def penalty(terms: Sequence[Term]) -> Tensor:
    """The sum of some terms, a scalar.

    Its gradient is a multiple of the rows, so that autograd's formulas, of ten operations for each
    term, are done without: a GPU takes longer to begin one than to end it.
    """
    factors = [(each.factor, each.weights) for each in terms]
    value: Tensor = _Penalty.apply(factors, *(each.rows for each in terms))  # type: ignore[no-untyped-call]
    return value


class _Penalty(torch.autograd.Function):
    """`penalty`: all terms in as few operations as there are kinds of these."""

    @staticmethod
    def forward(ctx: Any, terms: Sequence[tuple[float, Tensor | None]], *rows: Tensor) -> Tensor:
        """A scalar, of the type of the first rows."""
        weights = [each for _, each in terms]
        factors = [factor for factor, _ in terms]
        weighted = [
            each if by is None else each * by[:, None]
            for each, by in zip(rows, weights, strict=True)
        ]
        ctx.factors = [2 * factor for factor in factors]
        ctx.save_for_backward(*weighted)
        plain = [each for each, by in zip(rows, weights, strict=True) if by is None]
        norms = all_norms(plain) if plain else ()
        squares = iter(all_scaled(norms, norms) if plain else ())
        sums = [
            next(squares) if by is None else torch.dot(one.reshape(-1), other.reshape(-1))
            for one, other, by in zip(rows, weighted, weights, strict=True)
        ]
        return torch.stack(list(all_scaled(sums, factors))).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of each rows: 2 * factor * weight * row."""
        return (None, *all_scaled(all_scaled(ctx.saved_tensors, ctx.factors), gradient))


class RowDecay:
    """Weight decay that is on the rows a batch touches: decay / 2 * |row|^2 for each touch.

    The gradient on a row is decay * row times the share of the batch's terms that touch it; what
    every term touches (layers, and the tables that features are mapped by, where a batch touches
    the whole catalog) is decayed as by the form `gradient`. With a power p other than 1 a touch
    of a row with n terms counts (n / mean n)^(p - 1), so that in an epoch the decay of a row grows
    with n^p.

    Args:
        model: whose parameters shrink.
        decays: of each group, or side of a group as `embeddings.users`; those above 0.
        power: of the number of terms of a row.
    """

    def __init__(self, model: RatingModel, decays: dict[str, float], power: float) -> None:
        self.model, self.power = model, power
        self.decays = decays
        self._touches: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def count(self, counts: dict[Side, Any]) -> None:
        """Take the number of terms of each row.

        Args:
            counts: int64 [rows] of users and of items, the unknown row among them.
        """
        for side, of_side in counts.items():
            known = of_side.astype(np.float64)
            mean = max(known[1:].mean(), 1e-12)
            touch = np.where(known > 0, np.maximum(known, 1) / mean, 0.0)
            touch[known > 0] **= self.power - 1
            self._touches[side] = torch.from_numpy(touch.astype(np.float32))
            self._counts[side] = torch.from_numpy((known * touch).astype(np.float32))

    def touches(self, side: Side, ids: Tensor) -> Tensor:
        """How much a touch of each of some rows counts, float [n]."""
        return self._of(self._touches, side, ids)[ids.long()]

    def counts(self, side: Side, ids: Tensor) -> Tensor:
        """The same times the terms of each row in an epoch, float [n]."""
        return self._of(self._counts, side, ids)[ids.long()]

    def _of(self, tables: dict[str, Tensor], side: Side, ids: Tensor) -> Tensor:
        if tables[side].device != ids.device:
            tables[side] = tables[side].to(ids.device)
        dtype = next(self.model.parameters()).dtype
        if tables[side].dtype != dtype:
            tables[side] = tables[side].to(dtype)
        return tables[side]

    def of_pairs(self, embedded: EmbeddedBatch, users: Tensor, items: Tensor) -> Tensor | float:
        """The penalty of a batch of pairs.

        Args:
            embedded: of these pairs.
            users: int [B].
            items: int [B].
        """
        if not self.decays:
            return 0.0
        touches: dict[Side | None, Tensor] = {}
        if self.power != 1:
            touches = {"users": self.touches("users", users), "items": self.touches("items", items)}
        touched = self.model.touched_rows(embedded)
        terms: list[Term] = []
        for name, decay in self.decays.items():
            group, _, side = name.partition(".")
            for each in touched.get(group, ()):
                of_its_own = f"{group}.{each.side}" in self.decays
                if side == each.side or not (side or of_its_own):
                    weights = touches.get(each.side) if each.weights is None else each.weights
                    terms.append(Term(each.rows, decay / 2, weights))
            if group not in touched:
                whole = self.model.parameter_groups()[name]
                terms += [Term(each, decay / 2 * len(users), None) for each in whole]
        return penalty(terms)

    def of_users(self, batch: UserBatch, share: float, rows: dict[Side, dict[str, Tensor]]) -> Any:
        """The penalty of users with all they chose: theirs, and a share of that of all items.

        Args:
            batch: whose users are touched as often as they chose.
            share: of the users of an epoch that this batch has.
            rows: own rows of its users, and of all items.
        """
        penalty: Tensor | float = 0.0
        everything = torch.arange(
            1, 1 + len(rows["items"]["embeddings"]), device=batch.users.device
        )
        by = {
            "users": self.counts("users", batch.users),
            "items": self.counts("items", everything) * share,
        }
        for name, decay in self.decays.items():
            group, _, side = name.partition(".")
            if group not in rows["users"]:
                penalty = penalty + decay / 2 * self._whole(name) * batch.terms
                continue
            for each in SIDES:
                if side in ("", each):
                    squares = rows[each][group].square().sum(1) @ by[each]
                    mapped = self._mapped(group, each) * batch.terms
                    penalty = penalty + decay / 2 * (squares + mapped)
        return penalty

    def _whole(self, name: str) -> Tensor:
        """Squared entries of a group that is no table."""
        parameters = self.model.parameter_groups()[name]
        return torch.stack([each.square().sum() for each in parameters]).sum()

    def _mapped(self, group: str, side: Side) -> Tensor | float:
        """Squared entries of the table that maps features of one side."""
        tables = self.model.mapping_tables().get(group, {})
        return tables[side].weight.square().sum() if side in tables else 0.0


class Objective(ABC, Generic[AnyBatch]):
    """The loss of a batch.

    Args:
        model: that is trained.
        loss: of the kind that the batches are of.
        decay: of its rows.
    """

    # Of losses by user, how many an epoch has over all ranks.
    users_per_epoch = 0

    def __init__(self, model: RatingModel, loss: Any, decay: RowDecay) -> None:
        self.model, self.loss, self.decay = model, loss, decay

    @abstractmethod
    def __call__(self, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """The sum of the losses of this rank's share, and the same with the penalty."""


class PointwiseObjective(Objective[RatingBatch]):
    """A rating, or a score, and its target."""

    loss: PointwiseLoss

    def __call__(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        """Of the ratings of the batch."""
        embedded = self.model.embed(batch)
        compared = self.model.rate if self.loss.of == "ratings" else self.model.score
        loss = self.loss(compared(embedded.rows, batch, embedded.effects), batch.ratings)
        return loss, loss + self.decay.of_pairs(embedded, batch.users, batch.items)


class PairwiseObjective(Objective[PairBatch]):
    """What a user chose, and what was drawn for it."""

    loss: PairwiseLoss

    def __call__(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Of the pairs of the batch."""
        each = 1 + batch.drawn.shape[1]
        compared = torch.cat([batch.items[:, None], batch.drawn], dim=1).view(-1)
        users = self.model.embed_side("users", batch.users, batch.whole_size, batch.draw_seed)
        items = self.model.embed_side("items", compared, batch.whole_size * each, batch.draw_seed)
        rows = {
            group: (of_user.repeat_interleave(each, 0), items.rows[group])
            for group, of_user in users.rows.items()
        }
        pairs = RatingBatch(
            batch.users.repeat_interleave(each),
            compared,
            compared.to(rows["embeddings"][0].dtype),
            None,
            batch.start * each,
            batch.whole_size * each,
            batch.draw_seed,
        )
        scores = self.model.score(rows, pairs).view(-1, each)
        weights = () if batch.weights is None else (batch.weights.to(scores.dtype),)
        loss = self.loss(scores[:, 0], scores[:, 1:], *weights)
        if not self.decay.decays:
            return loss, loss
        of_choices = items._replace(
            own={group: own.view(-1, each, own.shape[1])[:, 0] for group, own in items.own.items()},
            features=None
            if items.features is None
            else items.features._replace(position=items.features.position.view(-1, each)[:, 0]),
        )
        embedded = paired(users, of_choices, None)
        return loss, loss + self.decay.of_pairs(embedded, batch.users, batch.items)


class UserObjective(Objective[UserBatch]):
    """One row of scores of the catalog for each user, and all that the user chose."""

    loss: UserLoss

    def __call__(self, batch: UserBatch) -> tuple[Tensor, Tensor]:
        """Of the users of the batch."""
        model = self.model
        users = model.embed_side("users", batch.users, batch.whole_size, batch.draw_seed)
        items = model.embed_all("items", batch.draw_seed)
        nobody = RatingBatch(
            batch.users, batch.users, batch.users, None,
            batch.start, batch.whole_size, batch.draw_seed,
        )  # fmt: skip
        columns = batch.items.long() - 1
        if batch.drawn is None:
            scores = model.score_all(users.rows, items.rows, nobody)
            if batch.barred_rows is not None and batch.barred_items is not None:
                barred = torch.zeros_like(scores, dtype=torch.bool)
                barred[batch.barred_rows, batch.barred_items.long() - 1] = True
                scores = scores.masked_fill(barred, -torch.inf)
            weights = () if batch.weights is None else (batch.weights.to(scores.dtype),)
            loss = self.loss(scores, batch.rows, columns, *weights)
        else:
            loss = self._sampled(batch, users.rows, items.rows, nobody, columns)
        if not self.decay.decays:
            return loss, loss
        share = len(batch.users) / self.users_per_epoch
        penalty = self.decay.of_users(batch, share, {"users": users.own, "items": items.own})
        return loss, loss + penalty

    def _sampled(
        self,
        batch: UserBatch,
        users: dict[str, Tensor],
        items: dict[str, Tensor],
        nobody: RatingBatch,
        columns: Tensor,
    ) -> Tensor:
        """The loss with drawn items in place of the catalog."""
        assert isinstance(self.loss, Softmax)
        assert batch.drawn is not None
        assert batch.log_expected is not None
        drawn = {group: each[batch.drawn.long() - 1] for group, each in items.items()}
        scores = self.model.score_all(users, drawn, nobody) - batch.log_expected
        own = torch.zeros(len(batch.users), len(items["embeddings"]), dtype=torch.bool)
        own = own.to(scores.device)
        own[batch.rows, columns] = True
        if batch.barred_rows is not None and batch.barred_items is not None:
            own[batch.barred_rows, batch.barred_items.long() - 1] = True
        scores = scores.masked_fill(own[:, batch.drawn.long() - 1], -torch.inf)
        rows = {group: (each[batch.rows], items[group][columns]) for group, each in users.items()}
        zeros = columns.new_zeros(len(columns))
        pairs = nobody._replace(users=zeros, items=zeros, ratings=zeros, start=0, whole_size=0)
        chosen = self.model.score(rows, pairs)
        weights = None if batch.weights is None else batch.weights.to(scores.dtype)
        return self.loss.sampled(chosen, batch.rows, scores, weights)


def build_objective(model: RatingModel, loss: Loss, decay: RowDecay) -> Objective[Any]:
    """The objective of a loss, by its kind."""
    if isinstance(loss, PairwiseLoss):
        return PairwiseObjective(model, loss, decay)
    if isinstance(loss, UserLoss):
        return UserObjective(model, loss, decay)
    return PointwiseObjective(model, loss, decay)
