"""What an optimizer step costs on many devices: bytes, messages and seconds, on paper.

Rings, as NCCL has them for large messages (Thakur, Rabenseifner and Gropp 2005, "Optimization of
collective communication operations in MPICH"): of W ranks, each sends for

- a gather of n bytes from each: (W - 1) n bytes in W - 1 messages;
- a reduce-scatter of N bytes: (W - 1) / W N bytes in W - 1 messages;
- an all-reduce of N bytes: both, 2 (W - 1) / W N bytes in 2 (W - 1) messages.

Nothing overlaps: seconds are the sum of what is sent, of the messages' latency and of what passes
through the device's memory. The bytes are checked against the collectives that two ranks make.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

# Bytes of a float32 and of an int32.
NUMBER, ID = 4, 4
# Bytes of a rating on the device: user, item and rating, and its place in the epoch's order.
RATING = 3 * 4 + 4


@dataclass(frozen=True)
class Training:
    """What is trained, and how.

    Attributes:
        users: rows of the tables of users.
        items: rows of the tables of items.
        widths: of the tables of one side: factors, and 1 where there are biases.
        batch_size: ratings in a step over all ranks.
        shared: numbers in layers that every rank has.
        states: numbers that the optimizer keeps for each parameter: 0 for plain SGD, 1 with
            momentum, 2 for Adam.
        ratings: in an epoch.
    """

    users: int
    items: int
    widths: tuple[int, ...]
    batch_size: int
    shared: int = 0
    states: int = 2
    ratings: int = 0

    @property
    def table_bytes(self) -> int:
        """Of all tables."""
        return (self.users + self.items) * sum(self.widths) * NUMBER


@dataclass(frozen=True)
class Devices:
    """What it is trained on.

    Attributes:
        ranks: one on each device.
        link: bytes a second that a device sends.
        latency: seconds of a message.
        memory: bytes a second between the device and its own memory.
    """

    ranks: int
    link: float
    latency: float
    memory: float


class StepCost(NamedTuple):
    """Of one rank.

    Attributes:
        resident_bytes: parameters, gradients and the optimizer's state.
        sent_bytes: in a step.
        messages: in a step.
        memory_bytes: through the device's memory in a step.
    """

    resident_bytes: float
    sent_bytes: float
    messages: int
    memory_bytes: float

    def __add__(self, other: object) -> Self:
        """Both, one after the other."""
        assert isinstance(other, StepCost)
        return type(self)(
            self.resident_bytes + other.resident_bytes,
            self.sent_bytes + other.sent_bytes,
            self.messages + other.messages,
            self.memory_bytes + other.memory_bytes,
        )

    def seconds(self, devices: Devices) -> float:
        """Of a step.

        Args:
            devices: with as many ranks as the cost is of.
        """
        talking = self.sent_bytes / devices.link + self.messages * devices.latency
        return talking + self.memory_bytes / devices.memory


def whole_tables(training: Training, ranks: int) -> StepCost:
    """Every rank has all tables (DDP): their gradients are dense, and all are reduced.

    Args:
        training: what is trained.
        ranks: that share the batch.
    """
    everything = training.table_bytes + training.shared * NUMBER
    rows = -(-training.batch_size // ranks) * 2 * sum(training.widths) * NUMBER
    return (
        _resident(everything, training.states)
        + _all_reduce(everything, ranks)
        # Rows are read forward; backward their gradients are written, read and added.
        + StepCost(0, 0, 0, 4 * rows)
    )


def split_tables(training: Training, ranks: int, *, gloo: bool = False) -> StepCost:
    """Each rank has some rows of each table (`model.sharding=row`).

    Args:
        training: what is trained.
        ranks: that share the batch and the rows.
        gloo: the ranks talk through gloo, whose reduce-scatter is an all-reduce.
    """
    reduce_scatter = _all_reduce if gloo else _reduce_scatter
    share = -(-training.batch_size // ranks)
    tables = sum(
        -(-rows // ranks) * width * NUMBER
        for rows in (training.users, training.items)
        for width in training.widths
    )
    cost = _resident(tables + training.shared * NUMBER, training.states)
    for _ in ("users", "items"):
        cost += _gather(share * ID, ranks)
        for width in training.widths:
            rows = share * width * NUMBER
            cost += reduce_scatter(ranks * rows, ranks) + _gather(rows, ranks)
            # Of all ranks' rows: looked up, those of others set to zero, sent; backward, gathered
            # gradients are written, read and added.
            cost += StepCost(0, 0, 0, 8 * ranks * rows)
    if training.shared:
        cost += _all_reduce(training.shared * NUMBER, ranks)
    return cost


def exchanged_rows(training: Training, ranks: int) -> StepCost:
    """Split tables, were each row sent only to the rank that asked for it (not built).

    Args:
        training: what is trained.
        ranks: that share the batch and the rows.
    """
    share = -(-training.batch_size // ranks)
    cost = split_tables(replace(training, batch_size=0), ranks)
    away = (ranks - 1) / ranks
    for _ in ("users", "items"):
        rows = share * sum(training.widths) * NUMBER
        cost += StepCost(0, away * (share * ID + 2 * rows), 0, 8 * rows)
    return cost


def _resident(parameter_bytes: float, states: int) -> StepCost:
    """Also what one step of the optimizer moves: a zeroed gradient, then all read and written."""
    moved = 1 + 3 + 2 * states
    return StepCost(parameter_bytes * (2 + states), 0, 0, parameter_bytes * moved)


def _gather(own: float, ranks: int) -> StepCost:
    return StepCost(0, (ranks - 1) * own, ranks - 1, 0)


def _reduce_scatter(whole: float, ranks: int) -> StepCost:
    return StepCost(0, (ranks - 1) / ranks * whole, ranks - 1, 0)


def _all_reduce(whole: float, ranks: int) -> StepCost:
    return StepCost(0, 2 * (ranks - 1) / ranks * whole, 2 * (ranks - 1), 0)
