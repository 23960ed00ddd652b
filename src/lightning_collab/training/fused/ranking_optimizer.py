"""Many optimizer steps of a loss that ranks, as one step of a torch optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_collab.config.optimizer import AdamConfig, Optimizer
from lightning_collab.data.choice_batches import PairBatch, UserBatch
from lightning_collab.models import RatingModel
from lightning_collab.models.rating_model import SIDES
from lightning_collab.training.fused import row_updates
from lightning_collab.training.modules.objective import Objective, RowDecay
from lightning_collab.training.optimizers import build_optimizer

Array = NDArray[Any]

# Users whose scores are looked at together, so that they stay in the cache.
USERS_AT_A_TIME = 128
KINDS = {"bce": row_updates.BCE, "bpr": row_updates.BPR}


class RankingBlock(NamedTuple):
    """Batches that are taken in one go.

    Attributes:
        batch: of several steps, in their order.
        batch_size: users or pairs in a step; the last may have fewer.
        factors: float64 [steps], the schedule's factor on every group's learning rate.
    """

    batch: UserBatch | PairBatch
    batch_size: int
    factors: NDArray[np.float64]


class RankingLosses(NamedTuple):
    """What the steps of a block saw.

    Attributes:
        sums: float64 [steps], of the losses of each batch, before the step.
        terms: int64 [steps], how many losses those are.
        taken: steps taken; fewer than there are where a loss was no number.
    """

    sums: NDArray[np.float64]
    terms: NDArray[np.int64]
    taken: int


class _Trained:
    """A table, what Adam remembers of it, and its gradient.

    Args:
        parameter: float [rows, width].
        state: of the optimizer.
        frozen: whether it stays as it is.
    """

    def __init__(self, parameter: Tensor, *, frozen: bool) -> None:
        self.weight: Array = parameter.detach().numpy()
        self.gradient = np.zeros_like(self.weight)
        self.frozen = frozen
        self.touches = np.full(len(self.weight), -1, dtype=np.int32)
        self.rows = np.zeros(len(self.weight), dtype=np.int32)


class FusedRanking(torch.optim.Optimizer):
    """Adam on the tables of a dot product with biases, a whole block of batches at each `step`.

    Groups and state are those of `RowAdam`, or of torch's Adam where no group is lazy, by the same
    names, so that a checkpoint of one engine is one of the other.

    Args:
        groups: from `parameter_groups`.
        config: the `optimizer` section: Adam.
        model: whose tables are trained, on the CPU, in float32 or float64.
        objective: with the loss, and with the decay of rows.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        config: Optimizer,
        model: RatingModel,
        objective: Objective[Any],
    ) -> None:
        assert isinstance(config, AdamConfig)
        alike = build_optimizer(groups, config)
        super().__init__(alike.param_groups, alike.defaults)
        self.name = type(alike).__name__
        self._decays = {group["name"]: group["weight_decay"] for group in groups}
        self._eps = config.eps
        self._model, self._objective = model, objective
        self._tables: dict[tuple[str, str], _Trained] = {}
        self._memory: Tensor | None = None
        # Of the last block of steps.
        self.losses = RankingLosses(np.zeros(0), np.zeros(0, np.int64), 0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of torch's optimizer or of another of these."""
        super().load_state_dict(state_dict)
        self._tables.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take the steps of a block; `losses` then says what they saw.

        Args:
            closure: gives the `RankingBlock`.
        """
        assert closure is not None
        block: RankingBlock = closure()
        batch, size, steps = block.batch, block.batch_size, len(block.factors)
        sums, terms = np.zeros(steps), np.zeros(steps, np.int64)
        self._find_tables()
        taken = 0
        for step in range(steps):
            cut = slice(step * size, min((step + 1) * size, len(batch.users)))
            part = _cut(batch, cut)
            terms[step] = part.terms
            if isinstance(part, UserBatch):
                sums[step] = self._softmax(part)
            else:
                sums[step] = self._pairs(part)
            if not np.isfinite(sums[step]):
                break
            self._update(part, block.factors[step])
            taken += 1
        self.losses = RankingLosses(sums, terms, taken)

    def _find_tables(self) -> None:
        tables = self._model.lookup_tables()
        for group in tables:
            for side in SIDES:
                parameter = tables[group][side].weight
                known = self._tables.get((group, side))
                frozen = not parameter.requires_grad
                if known is None or known.weight.ctypes.data != parameter.data_ptr():
                    self._tables[group, side] = _Trained(parameter, frozen=frozen)

    def _softmax(self, batch: UserBatch) -> float:
        """The loss of a batch of users; the gradients are left in the tables."""
        total = 0.0
        users = batch.users.long()
        factors = {side: _tensor(self._tables["embeddings", side].weight) for side in SIDES}
        item_factors = factors["items"][1:]
        bias = _tensor(self._tables["biases", "items"].weight)[1:, 0]
        of_items = _tensor(self._tables["embeddings", "items"].gradient)[1:]
        of_bias = _tensor(self._tables["biases", "items"].gradient)[1:, 0]
        of_users = _tensor(self._tables["embeddings", "users"].gradient)
        weights = None if batch.weights is None else batch.weights.to(bias.dtype)
        size = min(USERS_AT_A_TIME, len(users))
        if self._memory is None or self._memory.shape[0] < size:
            self._memory = bias.new_empty(size, len(bias))
        for first in range(0, len(users), USERS_AT_A_TIME):
            mine = users[first : first + USERS_AT_A_TIME]
            scores = self._memory[: len(mine)]
            own = factors["users"][mine]
            torch.addmm(bias, own, item_factors.T, out=scores)
            if batch.barred_rows is not None and batch.barred_items is not None:
                cut = _between(batch.barred_rows, first, first + len(mine))
                rows, columns = batch.barred_rows[cut] - first, batch.barred_items[cut].long() - 1
                scores[rows, columns] = -torch.inf
            cut = _between(batch.rows, first, first + len(mine))
            rows, columns = batch.rows[cut] - first, batch.items[cut].long() - 1
            highest = scores.amax(1, keepdim=True)
            scores -= highest
            chosen = scores[rows, columns].double()
            torch.exp(scores, out=scores)
            sums = scores.sum(1)
            losses = sums.double().log()[rows] - chosen
            if weights is None:
                total += float(losses.sum())
                counts = torch.bincount(rows, minlength=len(mine)).to(scores.dtype)
                scores *= (counts / sums)[:, None]
                scores[rows, columns] -= 1
            else:
                total += float(losses @ weights[cut].double())
                counts = scores.new_zeros(len(mine)).index_add_(0, rows, weights[cut])
                scores *= (counts / sums)[:, None]
                scores[rows, columns] -= weights[cut]
            of_users[mine] = scores @ item_factors
            of_items.addmm_(scores.T, own)
            of_bias += scores.sum(0)
        return total

    def _pairs(self, batch: PairBatch) -> float:
        """The loss of a batch of pairs; the gradients are left in the tables."""
        tables = self._tables
        weights = np.zeros(0, np.float32) if batch.weights is None else batch.weights.numpy()
        places = [(group, side) for group in ("embeddings", "biases") for side in SIDES]
        return float(
            row_updates.pair_gradients(
                KINDS[self._objective.loss.config.name],
                batch.users.numpy(),
                batch.items.numpy(),
                batch.drawn.numpy(),
                weights,
                *(tables[place].weight for place in places),
                *(tables[place].gradient for place in places),
            )
        )

    def _update(self, batch: UserBatch | PairBatch, factor: float) -> None:
        """Give each table its step, by the gradients that are left in it."""
        tables = self._model.lookup_tables()
        places = {
            id(tables[group][side].weight): (group, side) for group in tables for side in SIDES
        }
        touched = self._touched(batch)
        for group in self.param_groups:
            rate = group.get("initial_lr", group["lr"]) * factor
            for parameter in group["params"]:
                if parameter.requires_grad:
                    kind, side = places[id(parameter)]
                    decay = self._decay_of(kind, side, self._decays[group["name"]], batch)
                    self._move(parameter, group, rate, (kind, side), decay, touched, batch.terms)
                else:
                    self._tables[places[id(parameter)]].gradient[:] = 0

    def _touched(self, batch: UserBatch | PairBatch) -> dict[str, tuple[Array, Array]]:
        """Of users and items, the rows that have a gradient and how often each is touched."""
        found: dict[str, tuple[Array, Array]] = {}
        for side in SIDES:
            table = self._tables["embeddings", side]
            rows, touches = table.rows, table.touches
            touches[:] = -1
            if isinstance(batch, UserBatch):
                count = len(table.weight) - 1 if side == "items" else len(batch.users)
                rows[:count] = np.arange(1, count + 1) if side == "items" else batch.users.numpy()
                touches[rows[:count]] = 1
            else:
                ids = batch.users if side == "users" else batch.items
                count = row_updates.touched_rows(ids.numpy(), touches, True, rows, 0)
                if side == "items":
                    others = batch.drawn.reshape(-1).numpy()
                    count = row_updates.touched_rows(others, touches, False, rows, count)
            found[side] = rows[:count], touches
        return found

    def _decay_of(self, kind: str, side: Any, decay: float, batch: UserBatch | PairBatch) -> Array:
        """What a touch of each row adds to its gradient, over its weight; float [rows]."""
        row_decay: RowDecay = self._objective.decay
        weight = self._tables[kind, side].weight
        if not decay or not row_decay.decays:
            return np.zeros(len(weight), weight.dtype)
        everything = torch.arange(len(weight))
        if isinstance(batch, UserBatch):
            by = row_decay.counts(side, everything).numpy()
            share = len(batch.users) / self._objective.users_per_epoch if side == "items" else 1.0
            return (by * (decay * share / batch.terms)).astype(weight.dtype)
        if row_decay.power == 1:
            return np.full(len(weight), decay / batch.terms, weight.dtype)
        by = row_decay.touches(side, everything).numpy()
        return (by * (decay / batch.terms)).astype(weight.dtype)

    def _move(
        self,
        parameter: nn.Parameter,
        group: dict[str, Any],
        rate: float,
        place: tuple[str, str],
        decay: Array,
        touched: dict[str, tuple[Array, Array]],
        terms: int,
    ) -> None:
        table = self._tables[place]
        rows, touches = touched[place[1]]
        state = self._state(parameter, lazy=bool(group.get("lazy")))
        moments = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
        beta1, beta2 = group["betas"]
        if group.get("lazy"):
            row_updates.adam_on_rows(
                rows, table.weight, *moments, state["step"].numpy(), table.gradient, decay, touches,
                1 / terms, rate, beta1, beta2, self._eps,
            )  # fmt: skip
            return
        state["step"] += 1
        count = float(state["step"])
        numbers = np.array(
            [
                rate / (1 - beta1**count),
                np.sqrt(1 - beta2**count),
                1 - beta1,
                beta2,
                1 - beta2,
                self._eps,
            ]
        )
        by_row = decay * np.maximum(touches, 0)
        row_updates.adam_on_all(
            table.weight, *moments, table.gradient, by_row.astype(decay.dtype), 1 / terms, numbers
        )

    def _state(self, parameter: nn.Parameter, *, lazy: bool) -> dict[str, Any]:
        """What the optimizer by autograd would remember of a parameter, zeros at first."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            shape = (len(parameter), 1) if lazy else ()
            state["step"] = torch.zeros(shape, dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array)


def _between(rows: Tensor, first: int, last: int) -> slice:
    """Where ascending rows are from one to before another."""
    bounds = torch.searchsorted(rows, torch.tensor([first, last]))
    return slice(int(bounds[0]), int(bounds[1]))


def _cut(batch: UserBatch | PairBatch, rows: slice) -> Any:
    """Some of the users or pairs of a block."""
    if isinstance(batch, PairBatch):
        return batch._replace(
            users=batch.users[rows],
            items=batch.items[rows],
            drawn=batch.drawn[rows],
            weights=None if batch.weights is None else batch.weights[rows],
        )
    if rows.start == 0 and rows.stop == len(batch.users):
        return batch
    mine = _between(batch.rows, rows.start, rows.stop)
    part = batch._replace(
        users=batch.users[rows],
        rows=batch.rows[mine] - rows.start,
        items=batch.items[mine],
        weights=None if batch.weights is None else batch.weights[mine],
    )
    if batch.barred_rows is None or batch.barred_items is None:
        return part
    barred = _between(batch.barred_rows, rows.start, rows.stop)
    return part._replace(
        barred_rows=batch.barred_rows[barred] - rows.start, barred_items=batch.barred_items[barred]
    )
