"""Many optimizer steps of a factor model as one step of a torch optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_collab.config.optimizer import AdamConfig, Optimizer, SGDConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import RatingModel
from lightning_collab.models.rating_model import SIDES
from lightning_collab.training.fused import per_sample
from lightning_collab.training.fused.adam_rule import adam_rule
from lightning_collab.training.fused.batch_rows import Table, TrainedRows, Workspaces
from lightning_collab.training.fused.feature_tables import Features, Periods
from lightning_collab.training.fused.features_kernel import Trained, train_block_with_features
from lightning_collab.training.fused.kernel import train_block
from lightning_collab.training.fused.mapped_rows import Mapped
from lightning_collab.training.fused.sgd_rule import sgd_rule
from lightning_collab.training.fused.update_rule import UpdateRule, frozen_rule
from lightning_collab.training.optimizers import build_optimizer

Array = NDArray[Any]


class StepBlock(NamedTuple):
    """Batches that are taken in one go.

    Attributes:
        ratings: n of them, in the order of their steps.
        batch_size: ratings in a step; the last may have fewer.
        factors: float64 [steps], the schedule's factor on every group's learning rate.
        with_penalties: whether the penalty of each step is wanted.
    """

    ratings: RatingBatch
    batch_size: int
    factors: NDArray[np.float64]
    with_penalties: bool = False


class BlockLosses(NamedTuple):
    """What the steps of a block saw.

    Attributes:
        squared_errors: float64 [steps], their sum over each batch, before the step.
        penalties: float64 [steps], the penalty on touched rows over the batch's size; [0] where it
            was not asked for.
        taken: steps taken; fewer than there are where a loss was not a number.
    """

    squared_errors: NDArray[np.float64]
    penalties: NDArray[np.float64]
    taken: int


class FusedSteps(torch.optim.Optimizer):
    """SGD or Adam on the tables of a factor model, a whole block of batches at each `step`.

    Parameters, groups and state are those of torch's optimizers, by the same names, so that a
    checkpoint of one engine is one of the other. The kernels work on the tensors' own memory.

    Args:
        groups: from `parameter_groups`.
        config: the `optimizer` section.
        model: whose tables are trained, on the CPU, in float32 or float64.
        lazy: rows that a batch does not touch stay as they are.
        clip: norm to which gradients are clipped; None: not.
        threads: that take steps on single ratings at the same time; see `per_sample_sgd`.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        config: Optimizer,
        model: RatingModel,
        *,
        lazy: bool,
        clip: float | None,
        threads: int = 1,
    ) -> None:
        # The others have no kernels, and the config check has sent them to autograd.
        assert isinstance(config, SGDConfig | AdamConfig)
        alike = build_optimizer(groups, config)
        super().__init__(alike.param_groups, alike.defaults)
        self.name = type(alike).__name__
        # torch's optimizer has none where the penalty is a part of the loss; the kernels need it.
        self._decays = {group["name"]: group["weight_decay"] for group in groups}
        self._config = config
        self._model = model
        self._lazy = lazy
        self._clip = clip or 0.0
        self._threads = threads
        self._effects = model.time_effects.of_periods()
        self._with_features = bool(model.features() or self._effects)
        self._plain = not self._with_features and per_sample.takes_single_ratings(
            config, clip=self._clip
        )
        # Uses of features are no whole numbers.
        self._work = Workspaces(np.float64 if self._with_features else np.int32)
        self._features: dict[str, Features] = {}
        self._missed: per_sample.Missed | None = None
        # Of the last block of steps.
        self.losses = BlockLosses(np.zeros(0), np.zeros(0), 0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of torch's optimizer or of another of these."""
        super().load_state_dict(state_dict)
        self._work.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take the steps of a block; `losses` then says what they saw.

        Args:
            closure: gives the `StepBlock`.
        """
        assert closure is not None
        step_block: StepBlock = closure()
        steps = len(step_block.factors)
        squared_errors = np.zeros(steps)
        penalties = np.zeros(steps if step_block.with_penalties else 0)
        if step_block.batch_size == 1 and not step_block.with_penalties and self._plain:
            taken = self._take_single_ratings(step_block, squared_errors)
        else:
            taken = self._take_batches(step_block, squared_errors, penalties)
        for group in self.param_groups:
            for parameter in group["params"]:
                if "step" in self.state.get(parameter, {}):
                    self.state[parameter]["step"] += taken
        self.losses = BlockLosses(squared_errors, penalties, taken)

    def _take_batches(self, step_block: StepBlock, squared_errors: Array, penalties: Array) -> int:
        rules = {
            group["name"]: self._rule(group, step_block.factors) for group in self.param_groups
        }
        factor_rule, bias_rule = rules["embeddings"], rules.get("biases") or frozen_rule()
        users = self._side("users", step_block.ratings.users.numpy(), step_block.batch_size)
        items = self._side("items", step_block.ratings.items.numpy(), step_block.batch_size)
        settings = (
            step_block.ratings.ratings.numpy(),
            self._model.raw_output,
            step_block.batch_size,
            self._lazy,
            self._clip,
            squared_errors,
            penalties,
        )
        taken: int
        if not self._with_features:
            taken = train_block(users, items, factor_rule, bias_rule, *settings)
            return taken
        user_features, users_mapped = self._side_features("users", users)
        item_features, items_mapped = self._side_features("items", items)
        effects = self._effects
        periods = Periods.of(effects, users.bias, self._table)
        of_time = self._work.rows(
            "periods",
            self._model.time_effects.numbered_pairs(step_block.ratings).flatten().numpy(),
            Table(*(array[:, :0].copy() for array in periods.bias)),
            periods.bias,
            min(len(periods.bias.weight), step_block.batch_size * len(effects)),
        )
        trained = Trained(
            (users, items, user_features, item_features, of_time),
            (factor_rule, factor_rule, factor_rule, factor_rule, frozen_rule()),
            bias_rule,
        )
        taken = train_block_with_features(trained, users_mapped, items_mapped, *settings)
        periods.give_back()
        return taken

    def _take_single_ratings(self, step_block: StepBlock, squared_errors: Array) -> int:
        ratings = step_block.ratings
        rates = {"embeddings": (0.0, 0.0), "biases": (0.0, 0.0)}
        for group in self.param_groups:
            if any(parameter.requires_grad for parameter in group["params"]):
                name = group["name"]
                rates[name] = (group.get("initial_lr", group["lr"]), self._decays[name])
        tables = self._model.lookup_tables()
        weights = {
            name: [tables[name][side].weight.detach().numpy() for side in SIDES] for name in tables
        }
        factors = weights["embeddings"]
        none = np.zeros((0, 1), factors[0].dtype)
        (rate, decay), (bias_rate, bias_decay) = rates["embeddings"], rates["biases"]
        tables_of = per_sample.Weights(*factors, *weights.get("biases", (none, none)))
        missed = None
        if not self._lazy and self._config.decay != "per_row" and (decay or bias_decay):
            if self._missed is None or len(self._missed.kept) <= len(squared_errors):
                self._missed = per_sample.Missed.nothing(tables_of, len(squared_errors))
            missed = self._missed
        return per_sample.per_sample_sgd(
            per_sample.Samples(
                ratings.users.numpy().astype(np.int32, copy=False),
                ratings.items.numpy().astype(np.int32, copy=False),
                ratings.ratings.numpy(),
                step_block.factors,
            ),
            tables_of,
            per_sample.Rates(rate, bias_rate, decay, bias_decay),
            self._model.raw_output,
            squared_errors,
            self._threads,
            missed=missed,
            rounds=None if ratings.rounds is None else ratings.rounds.numpy(),
        )

    def _rule(self, group: dict[str, Any], factors: NDArray[np.float64]) -> UpdateRule:
        if not any(parameter.requires_grad for parameter in group["params"]):
            on_rows = self._config.decay == "per_row"
            return frozen_rule(self._decays[group["name"]] if on_rows else 0.0)
        rates = group.get("initial_lr", group["lr"]) * factors
        decay = self._decays[group["name"]]
        match self._config:
            case SGDConfig():
                return sgd_rule(self._config, rates, decay)
            case AdamConfig():
                state = self._state(group["params"][0])
                return adam_rule(self._config, rates, decay, int(state["step"]))

    def _state(self, parameter: nn.Parameter) -> dict[str, Any]:
        """What torch's optimizer would remember of a parameter, zeros at first."""
        state: dict[str, Any] = self.state[parameter]
        if isinstance(self._config, AdamConfig):
            if not state:
                state["step"] = torch.tensor(0.0, dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        elif state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state

    def _side(self, side: str, ids: Array, batch_size: int) -> TrainedRows:
        tables = self._model.lookup_tables()
        factors = self._table(tables["embeddings"][side].weight)
        rows = len(factors.weight)
        if "biases" in tables:
            bias = self._table(tables["biases"][side].weight)
        else:
            zeros = np.zeros((rows, 1), factors.weight.dtype)
            bias = Table(zeros, zeros, zeros[:0])
        return self._work.rows(side, ids, factors, bias, min(rows, batch_size))

    def _side_features(self, side: str, own: TrainedRows) -> tuple[TrainedRows, Mapped]:
        features = self._features.get(side)
        if features is None or len(features.mapped.factors) != len(own.rows):
            features = self._features[side] = Features.of(self._model, side, len(own.rows))
        tables = features.tables(self._model, side, self._table)
        ids = np.zeros(0, np.int32)
        return self._work.rows(f"{side} features", ids, *tables, features.used), features.mapped

    def _table(self, parameter: Tensor) -> Table:
        weight = parameter.detach().numpy()
        nothing = weight[:0]
        if not parameter.requires_grad:
            return Table(weight, nothing, nothing)
        assert isinstance(parameter, nn.Parameter)
        if isinstance(self._config, AdamConfig):
            state = self._state(parameter)
            return Table(weight, state["exp_avg"].numpy(), state["exp_avg_sq"].numpy())
        if self._config.momentum:
            return Table(weight, self._state(parameter)["momentum_buffer"].numpy(), nothing)
        # The kernels write a momentum that is multiplied by 0 before it is read.
        return Table(weight, np.zeros_like(weight), nothing)
