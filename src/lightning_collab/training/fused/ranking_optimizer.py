"""Many optimizer steps of a loss that ranks, as one step of a torch optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_collab.config.optimizer import AdamConfig, Optimizer, SGDConfig
from lightning_collab.data.choice_batches import PairBatch, UserBatch
from lightning_collab.models import RatingModel
from lightning_collab.models.rating_model import SIDES
from lightning_collab.training.fused import row_updates, softmax_kernel
from lightning_collab.training.fused.adam_rule import adam_rule
from lightning_collab.training.fused.batch_rows import Table, Workspaces
from lightning_collab.training.fused.pairs_kernel import BCE, BPR, PairTable, train_pairs
from lightning_collab.training.fused.single_pairs import SingleTable, train_single_pairs
from lightning_collab.training.fused.update_rule import frozen_rule
from lightning_collab.training.modules.objective import Objective
from lightning_collab.training.optimizers import build_optimizer

Array = NDArray[Any]

# Users whose scores are looked at together, so that they stay in the cache.
USERS_AT_A_TIME = 128
KINDS = {"bce": BCE, "bpr": BPR}


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
        taken: steps taken; fewer than there are where a loss was not a number.
    """

    sums: NDArray[np.float64]
    terms: NDArray[np.int64]
    taken: int


class _Trained:
    """A table and its gradient.

    Args:
        parameter: float [rows, width].
    """

    def __init__(self, parameter: Tensor) -> None:
        self.weight: Array = parameter.detach().numpy()
        self.gradient = np.zeros_like(self.weight)


class FusedRanking(torch.optim.Optimizer):
    """Adam on the tables of a dot product with biases, a whole block of batches at each `step`.

    Groups and state are those of `RowAdam`, or of torch's Adam where no group is lazy, by the same
    names, so that a checkpoint of one engine is one of the other.

    Args:
        groups: from `parameter_groups`.
        config: the `optimizer` section: Adam; of single pairs, SGD without momentum too.
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
        # The others have no kernels, and the config check has sent them to autograd.
        assert isinstance(config, AdamConfig | SGDConfig)
        alike = build_optimizer(groups, config)
        super().__init__(alike.param_groups, alike.defaults)
        self.name = type(alike).__name__
        self._decays = {group["name"]: group["weight_decay"] for group in groups}
        self._config = config
        self._model, self._objective = model, objective
        self._tables: dict[tuple[str, str], _Trained] = {}
        self._decays_of_rows: dict[tuple[str, str], NDArray[np.float64]] = {}
        self._memory: Tensor | None = None
        self._work = Workspaces(np.int32)
        # Of the last block of steps.
        self.losses = RankingLosses(np.zeros(0), np.zeros(0, np.int64), 0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of torch's optimizer or of another of these."""
        super().load_state_dict(state_dict)
        self._tables.clear()
        self._work.clear()

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
        taken = 0
        if isinstance(batch, PairBatch):
            terms[:] = np.minimum(size, len(batch.users) - size * np.arange(steps))
            taken = self._take_pairs(block, sums)
        else:
            self._find_tables()
            for step in range(steps):
                part = _cut(batch, slice(step * size, min((step + 1) * size, len(batch.users))))
                terms[step] = part.terms
                sums[step] = self._softmax(part)
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
                if known is None or known.weight.ctypes.data != parameter.data_ptr():
                    self._tables[group, side] = _Trained(parameter)

    def _softmax(self, batch: UserBatch) -> float:
        """The loss of a batch of users; the gradients are left in the tables."""
        total = 0.0
        users = batch.users.long()
        tables = self._tables
        own_factors = _tensor(tables["embeddings", "users"].weight)[users]
        item_factors = _tensor(tables["embeddings", "items"].weight)[1:]
        bias = _tensor(tables["biases", "items"].weight).view(-1)[1:]
        of_items = _tensor(tables["embeddings", "items"].gradient)[1:]
        of_bias = tables["biases", "items"].gradient.reshape(-1)[1:]
        of_users = _tensor(tables["embeddings", "users"].gradient)
        weights = np.zeros(0, np.float32) if batch.weights is None else batch.weights.numpy()
        columns, places = batch.items.numpy(), batch.rows.numpy()
        ends = np.searchsorted(places, np.arange(len(users) + 1))
        size = min(USERS_AT_A_TIME, len(users))
        if self._memory is None or self._memory.shape[0] < size:
            self._memory = bias.new_empty(size, len(bias))
        for first in range(0, len(users), USERS_AT_A_TIME):
            last = min(first + USERS_AT_A_TIME, len(users))
            scores, own = self._memory[: last - first], own_factors[first:last]
            torch.addmm(bias, own, item_factors.T, out=scores)
            if batch.barred_rows is not None and batch.barred_items is not None:
                cut = _between(batch.barred_rows, first, last)
                rows, barred = batch.barred_rows[cut] - first, batch.barred_items[cut].long() - 1
                scores[rows, barred] = -torch.inf
            total += softmax_kernel.softmax_gradients(
                scores.numpy(),
                scores.amax(1).numpy(),
                ends[first : last + 1],
                columns,
                weights,
                of_bias,
            )
            of_users[users[first:last]] = scores @ item_factors
            of_items.addmm_(scores.T, own)
        return total

    def _update(self, batch: UserBatch, factor: float) -> None:
        """Give each table its step, by the gradients that are left in it."""
        assert isinstance(self._config, AdamConfig)
        share = len(batch.users) / self._objective.users_per_epoch
        mine = batch.users.numpy()
        for parameter, group, (kind, side) in self._trained():
            table = self._tables[kind, side]
            if not parameter.requires_grad:
                table.gradient[:] = 0
                continue
            rate = group.get("initial_lr", group["lr"]) * factor
            state = self._state(parameter, lazy=bool(group.get("lazy")))
            moments = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
            beta1, beta2 = group["betas"]
            # The penalty is on the users of the batch, and on all items by their share.
            decay = self._decay_of(kind, side, group["name"])
            if side == "items":
                rows = np.arange(1, len(decay), dtype=np.int32)
                by_row = decay * (share / batch.terms)
            else:
                rows, by_row = mine, np.zeros_like(decay)
                by_row[mine] = decay[mine] / batch.terms
            by_row = by_row.astype(table.weight.dtype)
            scale = 1 / batch.terms
            if group.get("lazy"):
                row_updates.adam_on_rows(
                    rows, table.weight, *moments, state["step"].numpy(), table.gradient, by_row,
                    scale, rate, beta1, beta2, self._config.eps,
                )  # fmt: skip
                continue
            state["step"] += 1
            count = float(state["step"])
            corrected = rate / (1 - beta1**count), np.sqrt(1 - beta2**count)
            numbers = np.array([*corrected, 1 - beta1, beta2, 1 - beta2, self._config.eps])
            row_updates.adam_on_all(table.weight, *moments, table.gradient, by_row, scale, numbers)

    def _take_pairs(self, block: RankingBlock, sums: Array) -> int:
        """Take the steps of pairs; returns how many."""
        batch, size = block.batch, min(block.batch_size, len(block.batch.users))
        assert isinstance(batch, PairBatch)
        weights = np.zeros(0, np.float32) if batch.weights is None else batch.weights.numpy()
        if isinstance(self._config, SGDConfig):
            return self._take_single_pairs(batch, weights, block.factors, sums)
        tables = {
            place: self._pair_table(parameter, group, place, block.factors)
            for parameter, group, place in self._trained()
        }
        each = 1 + batch.drawn.shape[1]
        rows = {}
        for side, ids, most in (("users", batch.users, size), ("items", batch.items, size * each)):
            values = [tables[kind, side].values for kind in ("embeddings", "biases")]
            most = min(most, len(values[0].weight))
            rows[side] = self._work.rows(side, ids.numpy(), values[0], values[1], most)
        taken: int = train_pairs(
            KINDS[self._objective.loss.config.name],
            size,
            *(tables[kind, side] for kind in ("embeddings", "biases") for side in SIDES),
            *(rows[side] for side in SIDES),
            batch.drawn.numpy(),
            weights,
            sums,
        )
        for parameter, group, _ in self._trained():
            if parameter.requires_grad and not group.get("lazy"):
                self.state[parameter]["step"] += taken
        return taken

    def _take_single_pairs(
        self, batch: PairBatch, weights: Array, factors: NDArray[np.float64], sums: Array
    ) -> int:
        """Take a plain step on each pair."""
        tables = {}
        for parameter, group, place in self._trained():
            rates = group.get("initial_lr", group["lr"]) * factors * parameter.requires_grad
            decays = self._decay_of(*place, group["name"])
            tables[place] = SingleTable(parameter.detach().numpy(), rates, decays)
        taken: int = train_single_pairs(
            KINDS[self._objective.loss.config.name],
            *(tables[kind, side] for kind in ("embeddings", "biases") for side in SIDES),
            batch.users.numpy(),
            batch.items.numpy(),
            batch.drawn.numpy(),
            weights,
            sums,
        )
        return taken

    def _pair_table(
        self,
        parameter: nn.Parameter,
        group: dict[str, Any],
        place: tuple[str, Any],
        factors: NDArray[np.float64],
    ) -> PairTable:
        weight = parameter.detach().numpy()
        decays = self._decay_of(*place, group["name"])
        rates = group.get("initial_lr", group["lr"]) * factors
        no_steps = np.zeros((0, 1), np.float32)
        if not parameter.requires_grad:
            table = Table(weight, weight[:0], weight[:0])
            return PairTable(table, frozen_rule(), rates, no_steps, decays)
        lazy = bool(group.get("lazy"))
        state = self._state(parameter, lazy=lazy)
        beta1, beta2 = group["betas"]
        assert isinstance(self._config, AdamConfig)
        config = self._config.model_copy(update={"beta1": beta1, "beta2": beta2})
        return PairTable(
            Table(weight, state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()),
            # Without decay, which is on the rows that a batch touches.
            adam_rule(config, rates, 0.0, 0 if lazy else int(state["step"])),
            rates,
            state["step"].numpy() if lazy else no_steps,
            decays,
        )

    def _trained(self) -> list[tuple[nn.Parameter, dict[str, Any], tuple[str, Any]]]:
        """Each parameter with its group and its place among the model's tables."""
        tables = self._model.lookup_tables()
        places = {id(tables[kind][side].weight): (kind, side) for kind in tables for side in SIDES}
        return [
            (parameter, group, places[id(parameter)])
            for group in self.param_groups
            for parameter in group["params"]
        ]

    def _decay_of(self, kind: str, side: Any, name: str) -> NDArray[np.float64]:
        """What a touch of each row adds to the sum of its gradients, over its weight.

        Of users in softmax a touch is that of all they chose, of items that of an epoch.
        """
        found = self._decays_of_rows.get((kind, side))
        if found is None:
            decay, row_decay = self._decays[name], self._objective.decay
            rows = torch.arange(len(self._model.lookup_tables()[kind][side].weight))
            found = np.full(len(rows), decay if row_decay.decays else 0.0)
            if decay and row_decay.decays:
                if self._objective.users_per_epoch:
                    found *= row_decay.counts(side, rows).numpy()
                elif row_decay.power != 1:
                    found *= row_decay.touches(side, rows).numpy()
            self._decays_of_rows[kind, side] = found
        return found

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


def _cut(batch: UserBatch, rows: slice) -> UserBatch:
    """Some of the users of a block."""
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
