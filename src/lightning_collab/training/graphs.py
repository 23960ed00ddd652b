"""Steps as CUDA graphs: recorded once for each shape of batch, and launched as one operation."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_collab.errors import TrainingError
from lightning_collab.models.embedding_net import BatchDropout
from lightning_collab.training.modules.objective import Objective

# Steps of a shape that are taken without a graph, in which libraries and the optimizer's state are
# set up: three, as torch's notes on CUDA graphs have it.
WARM_STEPS = 3
# Shapes that are recorded; an epoch has two, that of its last batch among them.
MOST_SHAPES = 8


class Losses(NamedTuple):
    """What a step leaves behind, both scalars on the device.

    Attributes:
        summed: over the terms of the batch.
        mean: with the penalty, of which the gradient was taken.
    """

    summed: Tensor
    mean: Tensor


Step = Callable[[], Losses]


class Recorder(Protocol):
    """Takes steps, and makes a step that can be launched again."""

    def warm(self, step: Step) -> Losses:
        """Take a step as it is."""

    def record(self, step: Step) -> Step:
        """Make one, without taking it, that does the same with what is in its tensors then."""


class CudaRecorder:
    """Records what a step launches. Further graphs share the memory of the first."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def warm(self, step: Step) -> Losses:
        """Take a step on a stream of its own, as has to be done before one is recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # That Adam takes a step outside of a graph.
            warnings.filterwarnings("ignore", "(?s).*capturable=True")
            losses = step()
        torch.cuda.current_stream().wait_stream(self._stream)
        return losses

    def record(self, step: Step) -> Step:
        """The step as one launch; it is not taken now.

        Raises:
            RuntimeError: it has the host wait for the device.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            losses = step()
        self._pool = graph.pool()

        def replay() -> Losses:
            graph.replay()
            return losses

        return replay


def settle_on_device(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move rates, and the counts of steps of another engine's checkpoint, to where graphs read."""
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].to(device, torch.float32)


class _Recorded:
    """Of one shape of batch: its tensors, which each step's are copied to, and the graph."""

    def __init__(self, batch: Any) -> None:
        self.batch = type(batch)(*(_copied(each) for each in batch))
        self.masks: dict[BatchDropout, Tensor] = {}
        self.taken = 0
        self.replay: Step | None = None

    def take_over(self, batch: Any) -> None:
        """The numbers of another batch of this shape, and the masks of its seed."""
        for own, other in zip(self.batch, batch, strict=True):
            if isinstance(own, Tensor):
                own.copy_(other)
        for layer, mask in self.masks.items():
            layer.draw(mask, batch.draw_seed)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


class GraphedSteps:
    """Takes the steps of a training.

    Args:
        objective: of its batches.
        optimizer: from `build_optimizer`, `graphed`.
        clip: norm to which gradients are clipped; None: not.
        recorder: of what is launched.
    """

    def __init__(
        self,
        objective: Objective[Any],
        optimizer: torch.optim.Optimizer,
        *,
        clip: float | None,
        recorder: Recorder,
    ) -> None:
        self._objective, self._optimizer, self._clip = objective, optimizer, clip
        self._recorder = recorder
        self._dropouts = [
            each for each in objective.model.modules() if isinstance(each, BatchDropout)
        ]
        self._recorded: dict[Any, _Recorded] = {}

    def take(self, batch: Any) -> Losses:
        """One step.

        Args:
            batch: the whole of it, on the device.

        Raises:
            TrainingError: something in the step cannot be recorded.
        """
        shape = _shape(batch)
        recorded = self._recorded.get(shape)
        if recorded is None:
            if len(self._recorded) == MOST_SHAPES:
                return self._step(_Recorded(batch))
            recorded = self._recorded[shape] = _Recorded(batch)
            with self._noticed_masks(recorded):
                losses = self._recorder.warm(lambda: self._step(recorded))
            recorded.taken = 1
            return losses
        recorded.take_over(batch)
        if recorded.taken < WARM_STEPS:
            recorded.taken += 1
            return self._recorder.warm(lambda: self._step(recorded))
        if recorded.replay is None:
            # So that gradients lie in the graph's own memory.
            self._optimizer.zero_grad(set_to_none=True)
            try:
                recorded.replay = self._recorder.record(lambda: self._step(recorded))
            except RuntimeError as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise TrainingError(
                    f"training.engine=graphs: the step cannot be recorded ({reason}); set "
                    "training.engine=eager"
                ) from error
        return recorded.replay()

    def _step(self, recorded: _Recorded) -> Losses:
        for layer in self._dropouts:
            layer.ahead = recorded.masks.get(layer)
        try:
            self._optimizer.zero_grad(set_to_none=True)
            summed, total = self._objective(recorded.batch)
            mean = total * (1 / recorded.batch.whole_terms)
            mean.backward()
        finally:
            for layer in self._dropouts:
                layer.ahead = None
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters(), self._clip)
        self._optimizer.step()
        return Losses(summed.detach(), mean.detach())

    def _parameters(self) -> Sequence[Tensor]:
        return [each for group in self._optimizer.param_groups for each in group["params"]]

    @contextmanager
    def _noticed_masks(self, recorded: _Recorded) -> Any:
        """Learn from a first step how large the masks of its dropout are."""

        def notice(layer: Any, given: Any) -> None:
            x, batch = given
            if layer.training and layer.probability:
                rows = batch.whole_size or len(x)
                recorded.masks[layer] = x.new_empty((rows, x.shape[1])).detach()

        hooks = [layer.register_forward_pre_hook(notice) for layer in self._dropouts]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _shape(batch: Any) -> tuple[Any, ...]:
    """What of a batch is recorded with the step, but for the seed, whose masks are drawn ahead."""
    fixed = [
        (each.shape, each.dtype) if isinstance(each, Tensor) else each
        for each in batch._replace(draw_seed=0)
    ]
    return (type(batch), *fixed)
