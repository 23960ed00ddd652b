"""`conf/optimizer`, `conf/scheduler`, `conf/averaging`, `conf/lr_range_test`: how weights move."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainValidator, SerializeAsAny, model_validator

from lightning_collab.config.contract import class_at
from lightning_collab.config.registry import SCHEDULERS
from lightning_collab.config.section import EMPTY_IF_NULL, MOST, Section, choose_by_name, needed

NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1e300)]
Decay = Literal["gradient", "decoupled", "per_row"]


class SideConfig(Section):
    """What differs from its group's values for the tables of users, or for those of items."""

    # Factor on the learning rate of the group; 0 freezes the side.
    lr_scale: NonNegative = 1.0
    # Weight decay of this side; null: the group's.
    weight_decay: NonNegative | None = None
    # Of Adam, decay of the running mean of gradients; null: the optimizer's.
    beta1: Fraction | None = None
    # Of Adam, decay of the running mean of squared gradients; null: the optimizer's.
    beta2: Fraction | None = None
    # Of Adam, whether a row without a gradient is not updated, nor its moments.
    lazy: bool = False

    @property
    def of_adam(self) -> bool:
        """Whether it has values that only Adam knows."""
        return self.lazy or self.beta1 is not None or self.beta2 is not None


class GroupConfig(Section):
    """What differs from the optimizer's values for one group of parameters."""

    # Factor on the learning rate; 0 freezes the group.
    lr_scale: NonNegative = 1.0
    # Weight decay of this group; null: the optimizer's.
    weight_decay: NonNegative | None = None


class TableGroupConfig(GroupConfig):
    """Of a group that is made of tables of users and of items."""

    # What differs for the tables of users.
    users: SideConfig = SideConfig()
    # What differs for the tables of items.
    items: SideConfig = SideConfig()

    @property
    def sides(self) -> dict[str, SideConfig]:
        """Both sides where either has values of its own; else none, and the group is one."""
        sides = {"users": self.users, "items": self.items}
        return sides if any(side != SideConfig() for side in sides.values()) else {}


class GroupsConfig(Section):
    """One entry for each layer group that needs values of its own."""

    embeddings: TableGroupConfig = TableGroupConfig()
    biases: TableGroupConfig = TableGroupConfig()
    hidden: GroupConfig = GroupConfig()
    output: GroupConfig = GroupConfig()

    def named(self, name: str) -> GroupConfig:
        """The entry of one group.

        Args:
            name: of the group.
        """
        group: GroupConfig = getattr(self, name)
        return group

    @property
    def sides(self) -> dict[str, SideConfig]:
        """By their keys, such as `embeddings.users`: sides of groups that are cut in two."""
        return {
            f"{name}.{side}": config
            for name in ("embeddings", "biases")
            for side, config in getattr(self, name).sides.items()
        }


class OptimizerConfig(Section):
    """Keys that every optimizer has."""

    # Learning rate before schedule and lr_scale.
    lr: Rate = 3e-3
    # Weight decay of all groups that name none of their own.
    weight_decay: NonNegative = 0.08
    # Form of the weight decay; see docs/weight-decay.md.
    decay: Decay = "per_row"
    # Of decay=per_row: that of a row grows with its number of ratings to this power.
    frequency_power: Annotated[float, Field(ge=0, le=2)] = 1.0
    groups: GroupsConfig = GroupsConfig()

    @property
    def sparse_gradients(self) -> bool:
        """Whether a table's gradient is of the rows that a batch touches alone."""
        return False

    @property
    def decays(self) -> bool:
        """Whether any group has a weight decay above 0."""
        decays = [self.weight_decay, *(group.weight_decay for _, group in self.groups)]
        return any([*decays, *(side.weight_decay for side in self.groups.sides.values())])

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.frequency_power != 1 and self.decay != "per_row":
            raise ValueError(
                f"optimizer.frequency_power={self.frequency_power:g} applies to "
                f"optimizer.decay=per_row, not to optimizer.decay={self.decay}"
            )
        for key, side in self.groups.sides.items():
            if side.of_adam and not isinstance(self, AdamConfig):
                raise ValueError(
                    f"optimizer.groups.{key}: beta1, beta2 and lazy apply to Adam only; set "
                    "optimizer=adam"
                )
            if side.lazy and self.decay == "decoupled":
                raise ValueError(
                    f"optimizer.groups.{key}.lazy: optimizer.decay=decoupled shrinks every row at "
                    "each step; set optimizer=adam, and optimizer.decay=per_row"
                )
            if side.lazy and self.decay == "gradient" and self.decays:
                raise ValueError(
                    f"optimizer.groups.{key}.lazy: optimizer.decay=gradient gives every row a "
                    "gradient; set optimizer.decay=per_row"
                )
        return self


class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Rate = 0.1
    weight_decay: NonNegative = 2e-4
    decay: Decay = "gradient"
    # 0: none.
    momentum: Fraction = 0.9
    # Nesterov's form of the momentum.
    nesterov: bool = False
    # Gradients of tables are of the rows that a batch touches alone; for plain SGD.
    sparse: bool = False

    @property
    def sparse_gradients(self) -> bool:
        """Whether a table's gradient is of the rows that a batch touches alone."""
        return self.sparse

    @model_validator(mode="after")
    def _sparse_gradients_move_no_other_row(self) -> Self:
        decays = (self.weight_decay, self.groups.embeddings.weight_decay or 0)
        dense_decay = self.decay != "per_row" and (
            any(decays) or bool(self.groups.biases.weight_decay)
        )
        if self.sparse and (self.momentum or dense_decay):
            raise ValueError(
                "optimizer.sparse: momentum and weight decay move rows that a batch does not "
                "touch; set optimizer.momentum=0, and optimizer.decay=per_row or "
                "optimizer.weight_decay=0"
            )
        return self


class AdamConfig(OptimizerConfig):
    """Adam (Kingma and Ba 2015)."""

    name: Literal["adam"] = "adam"
    # Decay of the running mean of gradients.
    beta1: Fraction = 0.9
    # Decay of the running mean of squared gradients.
    beta2: Fraction = 0.999
    # Added to the denominator.
    eps: Annotated[float, Field(gt=0, le=1e3)] = 1e-8


class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    lr: Rate = 5e-3
    weight_decay: NonNegative = 0.1
    decay: Literal["decoupled"] = "decoupled"


# Settings of torch's classes that have a key of their own here, and what to set in their place.
OWN_KEYS = {
    "lr": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "decoupled_weight_decay": "optimizer.decay=decoupled",
    "params": "optimizer.groups, for the groups of the model's parameters",
}


class TorchOptimizerConfig(OptimizerConfig):
    """Any optimizer of torch.optim, by the name of its class.

    The class and its settings are checked by torch itself before any data is read.
    """

    name: Literal["torch"] = "torch"
    # A public class of torch.optim.
    class_name: Annotated[
        str, needed("set optimizer.class_name=<a class of torch.optim>, such as RMSprop")
    ]
    # What the class takes beside parameters, rate and weight decay, by its own names.
    settings: Annotated[dict[str, Any], EMPTY_IF_NULL] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _what_has_a_key_is_set_by_it(self) -> Self:
        for name, key in OWN_KEYS.items():
            if name in self.settings:
                raise ValueError(f"optimizer.settings.{name}: not set here; set {key}")
        return self


Optimizer = Annotated[
    SGDConfig | AdamConfig | AdamWConfig | TorchOptimizerConfig, Field(discriminator="name")
]


Whole = Annotated[int, Field(ge=1, le=MOST)]


class SchedulerConfig(Section):
    """Keys that every schedule of the learning rate has.

    A schedule of your own is a subclass with a `name` of one value, a default for each key and a
    method `factors`: see docs/extending.md.
    """

    chosen_from = SCHEDULERS
    # Of a schedule of ours, the place of its formula, as "module:function".
    formula: ClassVar[str]

    name: str

    def factors(self, step: Any, *, steps_per_epoch: int, total_steps: int, lr: float) -> Any:
        """What the learning rates of all groups are multiplied by.

        A function of its arguments and of the config alone: it is asked for any steps, in any
        order, for one or for many at a time.

        Args:
            step: float64 numpy array [n], optimizer steps done, from 0 to `total_steps`.
            steps_per_epoch: optimizer steps in an epoch.
            total_steps: of the whole run.
            lr: the optimizer's learning rate.

        Returns:
            float64 numpy array [n], 0 or above.

        Example:
            >>> def factors(self, step, *, steps_per_epoch, total_steps, lr):
            ...     return 1 / np.sqrt(1 + step / steps_per_epoch)
        """
        return class_at(self.formula)(
            self, step, steps_per_epoch=steps_per_epoch, total_steps=total_steps, lr=lr
        )


class ConstantConfig(SchedulerConfig):
    """The same rate from first to last step."""

    formula: ClassVar[str] = "lightning_collab.training.schedules:constant"

    name: Literal["constant"] = "constant"


class LinearConfig(SchedulerConfig):
    """In a straight line from the learning rate to a share of it, over the whole run."""

    formula: ClassVar[str] = "lightning_collab.training.schedules:linear"

    name: Literal["linear"] = "linear"
    # The last rate, as a share of the first.
    end_share: Annotated[float, Field(ge=0, le=1)] = 0.02


class WarmRestartsConfig(SchedulerConfig):
    """Cosine to eta_min within a cycle, then up again (Loshchilov and Hutter 2017)."""

    formula: ClassVar[str] = "lightning_collab.training.schedules:warm_restarts"

    name: Literal["warm_restarts"] = "warm_restarts"
    # Epochs of the first cycle.
    cycle_len: Annotated[float, Field(ge=0.001, le=1e6)] = 1
    # Each cycle is this many times as long as the one before.
    cycle_mult: Whole = 2
    # Lowest learning rate, before lr_scale.
    eta_min: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    def cycle_ends(self, epochs: float) -> list[float]:
        """Where the cycles end that end within so many epochs, in epochs from the start.

        Args:
            epochs: length of the run.
        """
        ends, length = [self.cycle_len], self.cycle_len
        while ends[-1] <= epochs + 1e-9:
            length *= self.cycle_mult
            ends.append(ends[-1] + length)
        return ends[:-1]


class OneCycleConfig(SchedulerConfig):
    """Up to the learning rate and down again, once over the whole run (Smith and Topin 2018)."""

    formula: ClassVar[str] = "lightning_collab.training.schedules:one_cycle"

    name: Literal["one_cycle"] = "one_cycle"
    # Share of the run in which the rate rises.
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.3
    # The first rate is lr divided by this.
    start_div: Annotated[float, Field(ge=1, le=1e12)] = 25.0
    # The last rate is the first one divided by this.
    end_div: Annotated[float, Field(ge=1, le=1e12)] = 10000.0


class StepsConfig(SchedulerConfig):
    """The rate is multiplied by gamma at each milestone."""

    formula: ClassVar[str] = "lightning_collab.training.schedules:steps"

    name: Literal["steps"] = "steps"
    # Epochs after which the rate changes, ascending.
    milestones: list[Whole] = Field(default_factory=lambda: [3], min_length=1)
    # Factor at each milestone.
    gamma: Annotated[float, Field(gt=0, le=1e30)] = 0.1

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("scheduler.milestones: must ascend, without repeats")
        return self


# The config of one of the schedules that `SCHEDULERS` names.
Scheduler = Annotated[
    SerializeAsAny[SchedulerConfig], PlainValidator(choose_by_name(SchedulerConfig))
]


class NoAveragingConfig(Section):
    """The weights as the last step left them."""

    name: Literal["none"] = "none"


class EMAConfig(Section):
    """An exponential moving average over the steps (Polyak and Juditsky 1992)."""

    name: Literal["ema"] = "ema"
    # Share of the average that stays at each step.
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.995
    # Epochs of training before the average begins.
    from_epoch: Annotated[int, Field(ge=0, le=MOST)] = 0


class SWAConfig(Section):
    """The mean of the weights at ends of epochs or cycles (Izmailov et al. 2018)."""

    name: Literal["swa"] = "swa"
    # After what the weights enter the mean.
    every: Literal["epoch", "cycle"] = "epoch"
    # Epochs of training before the average begins.
    from_epoch: Annotated[int, Field(ge=0, le=MOST)] = 0


Averaging = Annotated[NoAveragingConfig | EMAConfig | SWAConfig, Field(discriminator="name")]


Suggestion = Literal["steepest", "valley", "minimum"]


class LRRangeTestConfig(Section):
    """How a learning rate is looked for (Smith 2017)."""

    # optimizer.lr at the first step.
    start_lr: Rate = 1e-5
    # optimizer.lr at the last step.
    end_lr: Rate = 10.0
    # Optimizer steps between the two.
    steps: Annotated[int, Field(ge=10, le=1_000_000)] = 200
    # Share of the running mean of losses that each new loss leaves.
    smoothing: Fraction = 0.95
    # The test stops where the smoothed loss is this many times the lowest.
    divergence: Annotated[float, Field(gt=1, le=1e6)] = 4.0
    # Which suggestion is used and printed to paste.
    suggestion: Suggestion = "valley"

    @model_validator(mode="after")
    def _upward(self) -> Self:
        if self.end_lr <= self.start_lr:
            raise ValueError("lr_range_test.end_lr: must be above lr_range_test.start_lr")
        return self
