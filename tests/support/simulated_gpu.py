"""A GPU that is none: CPU tensors whose storage is marked, and an account of what mixes them.

Under `SimulatedGPU` a tensor with a marked storage answers `cuda:0` for its device, and whatever
asks for a CUDA device gets a marked CPU tensor. Each operation that reaches the dispatcher, the
backward pass's too, is counted, and noted where it mixes marked and unmarked tensors (which CUDA
refuses, but for numbers) or has the host wait for a marked one.
"""

import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytorch_lightning as pl
import torch

# Before torch.Generator is replaced: it is used in annotations there.
import torch._dynamo
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lightning_collab.training import trainer
from lightning_collab.training.callbacks.averaging import CycleCheckpoints

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
MARK = "of_simulated_gpu"
# Operations that move no number: CUDA launches nothing for them.
VIEWS = re.compile(
    r"aten\.(view|_unsafe_view|t|transpose|permute|expand|slice|select|narrow|split|unbind|detach|alias"
    r"|unsqueeze|squeeze|as_strided|_reshape_alias|diagonal|unfold|lift_fresh|empty|empty_like"
    r"|empty_strided|new_empty|new_empty_strided|is_pinned|sym_\w+|chunk|view_as_real"
    r"|_indices|_values|_nnz|_coalesced_|set_|resize_|movedim|numpy_T|size|stride)\b"
)
# Operations whose result the host has to wait for.
READS = re.compile(
    r"aten\.(_local_scalar_dense|item|nonzero|bincount|masked_select|unique\w*|_unique\w*|equal"
    r"|is_nonzero|allclose)\b"
)


def storages(tensor: Tensor) -> list[torch.UntypedStorage]:
    """Those that a tensor's numbers lie in; of a sparse one, its indices' and its values'."""
    if tensor.layout == torch.sparse_coo:
        return [*storages(tensor._indices()), *storages(tensor._values())]
    return [tensor.untyped_storage()]


def is_marked(tensor: Tensor) -> bool:
    """Whether a tensor is on the simulated GPU."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        return any(hasattr(each, MARK) for each in storages(tensor))


def mark(value: Any, marked: bool = True) -> Any:
    """Move the storages of all tensors in a value, in place, to the GPU or back."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        for tensor in (each for each in tree_flatten(value)[0] if isinstance(each, Tensor)):
            for storage in storages(tensor):
                if marked:
                    setattr(storage, MARK, True)
                elif hasattr(storage, MARK):
                    delattr(storage, MARK)
    return value


def _wants_gpu(device: Any) -> bool:
    if isinstance(device, int) and not isinstance(device, bool):
        return True
    return device is not None and torch.device(device).type == "cuda"


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (
        isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda", "meta")
    )


class _Answers(TorchFunctionMode):
    """Answers for devices as a process with a GPU would, on what are CPU tensors."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        of = args[0] if args and isinstance(args[0], Tensor) else None
        if of is not None and func == Tensor.device.__get__:
            return CUDA if is_marked(of) else func(*args)
        if of is not None and func == Tensor.is_cuda.__get__:
            return is_marked(of)
        if of is not None and func == Tensor.is_cpu.__get__:
            return not is_marked(of)
        if of is not None and func == Tensor.get_device:
            return 0 if is_marked(of) else -1
        if of is not None and func in (Tensor.cpu, Tensor.cuda):
            return self._moved(of, func == Tensor.cuda)
        if of is not None and func == Tensor.to:
            return self._to(of, args[1:], kwargs)
        if func in (Tensor.numpy, Tensor.__array__) and of is not None and is_marked(of):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func == Tensor.pin_memory:
            return of
        device = kwargs.get("device")
        if device is not None and name not in ("Generator",):
            kwargs["device"] = CPU if torch.device(device).type != "meta" else device
            made = func(*args, **kwargs)
            if torch.device(device).type == "cuda":
                return mark(made)
            return made
        return func(*args, **kwargs)

    def _to(self, tensor: Tensor, words: Any, named: dict[str, Any]) -> Tensor:
        device = named.pop("device", None)
        words = list(words)
        for place, word in enumerate(words):
            if _is_device(word):
                device = words.pop(place)
                break
            if isinstance(word, Tensor):
                words[place] = word.dtype
                device = CUDA if is_marked(word) else CPU
                break
        named.pop("non_blocking", None)
        words = [word for word in words if not isinstance(word, bool)]
        copy = named.pop("copy", False)
        if words or "dtype" in named:
            tensor = Tensor.to(tensor, *words, **named)
        if device is None:
            return tensor.clone() if copy else tensor
        return self._moved(tensor, _wants_gpu(device), copy=copy)

    def _moved(self, tensor: Tensor, to_gpu: bool, copy: bool = False) -> Tensor:
        here = is_marked(tensor)
        if here == to_gpu:
            return tensor.clone() if copy else tensor
        gpu = SimulatedGPU.now()
        with gpu.copying():
            moved = tensor.clone()
        gpu.note_copy("to the device" if to_gpu else "to the host", tensor)
        return mark(moved, to_gpu)


class _Account(TorchDispatchMode):
    """Marks what comes of marked tensors, counts operations, and notes what CUDA would not do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        marks = [is_marked(each) for each in given]
        result = func(*args, **kwargs)
        gpu = SimulatedGPU.now()
        gpu.note(func, given, marks)
        if not given and torch._C._current_graph_task_id() != -1:
            # What autograd makes up in the backward pass is where the gradients are.
            mark(result)
        if any(mark_ and each.dim() for each, mark_ in zip(given, marks, strict=True)) or (
            marks and all(marks)
        ):
            mark(result)
        return result


class SimulatedGPU:
    """While entered, a process with one GPU, as far as tensors tell.

    Attributes:
        mixed: operations on tensors of both kinds, with where they were asked for.
        reads: operations that the host waits for, and copies to it, likewise.
        copies: copies to the device, likewise.
        launches: of each operation that moves numbers, how often it was done on the device.
    """

    _now: "SimulatedGPU | None" = None

    def __init__(self) -> None:
        self.mixed: list[str] = []
        self.reads: list[str] = []
        self.copies: list[str] = []
        self.launches: Counter[str] = Counter()
        self.steps: list[Counter[str]] = []
        self.stepping = False
        self._copying = False
        self._modes = (_Account(), _Answers())

    @property
    def read_in_steps(self) -> list[str]:
        """Those of `reads` that a training step waits for."""
        return [each for each in self.reads if each.startswith("step")]

    @classmethod
    def now(cls) -> "SimulatedGPU":
        """The one that is entered."""
        assert cls._now is not None
        return cls._now

    def __enter__(self) -> Self:
        SimulatedGPU._now = self
        self._generator, torch.Generator = torch.Generator, _Generator  # type: ignore[misc]
        self._grouped = torch._C._group_tensors_by_device_and_dtype
        torch._C._group_tensors_by_device_and_dtype = self._group
        for each in self._modes:
            each.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for each in reversed(self._modes):
            each.__exit__(*error)
        torch.Generator = self._generator  # type: ignore[misc]
        torch._C._group_tensors_by_device_and_dtype = self._grouped
        SimulatedGPU._now = None

    def _group(self, lists: Any, with_indices: bool = False) -> dict[Any, Any]:
        """Of lists of tensors, those of a device, which torch tells without asking the tensors."""
        found = self._grouped(lists, with_indices)
        return {
            (CUDA if is_marked(lists[0][0]) else device, kind): group
            for (device, kind), group in found.items()
        }

    @contextmanager
    def copying(self) -> Iterator[None]:
        """What happens inside is one copy between the host and the device."""
        self._copying = True
        try:
            yield
        finally:
            self._copying = False

    def note_copy(self, where: str, tensor: Tensor) -> None:
        """A copy in either direction."""
        (self.copies if where == "to the device" else self.reads).append(_asked_at(where))

    def note(self, func: Any, given: list[Tensor], marks: list[bool]) -> None:
        """An operation on tensors of which some are marked."""
        name = str(func)
        if self._copying or not any(marks):
            return
        if READS.match(name):
            self.reads.append(_asked_at(name))
        copies = name.startswith("aten.copy_")
        sizes = [each.dim() for each in given]
        unmarked = [not each and size > 0 for each, size in zip(marks, sizes, strict=True)]
        big = [each and size > 0 for each, size in zip(marks, sizes, strict=True)]
        if copies and any(unmarked):
            (self.copies if marks[0] else self.reads).append(_asked_at(name))
        elif any(unmarked) and (any(big) or any(marks)):
            self.mixed.append(_asked_at(name))
        if not VIEWS.match(name):
            self.launches[name] += 1
            if self.stepping:
                self.steps[-1][name] += 1


def _asked_at(name: str) -> str:
    """An operation, and the nearest line of ours that asked for it."""
    name = f"step {name}" if SimulatedGPU.now().stepping else name
    frames = [
        frame
        for frame in traceback.extract_stack()
        if "lightning_collab" in frame.filename and "/tests/" not in frame.filename
    ]
    where = (
        f"{frames[-1].filename.rpartition('lightning_collab/')[2]}:{frames[-1].lineno}"
        if frames
        else "elsewhere"
    )
    return f"{name} at {where}"


class _Generator(torch.Generator):
    """Draws on the CPU, whatever device is asked for."""

    def __new__(cls, device: Any = "cpu") -> Self:
        """One of the CPU."""
        return super().__new__(cls, "cpu")


class _NoSetup(CPUAccelerator):
    """Takes a CUDA device for its own, and asks nothing of it."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to set up."""


class _Steps(pl.Callback):
    """Tells where a training step begins and ends."""

    def on_train_batch_start(self, *_: Any) -> None:
        gpu = SimulatedGPU.now()
        gpu.stepping = True
        gpu.steps.append(Counter())

    def on_train_batch_end(self, *_: Any) -> None:
        SimulatedGPU.now().stepping = False


@contextmanager
def simulated_gpu() -> Iterator[SimulatedGPU]:
    """Trainers of runs that are built inside train on the simulated GPU."""
    arguments, callbacks = trainer._arguments, trainer._callbacks

    def on_gpu(config: Any) -> dict[str, Any]:
        given = arguments(config)
        for key in ("accelerator", "devices", "num_nodes"):
            given.pop(key, None)
        strategy = SingleDeviceStrategy(device=CUDA, accelerator=_NoSetup())
        return {**given, "strategy": strategy}

    def watched(*words: Any) -> list[pl.Callback]:
        # A step ends before what writes checkpoints.
        found = callbacks(*words)
        writes = [isinstance(each, CycleCheckpoints | pl.callbacks.Checkpoint) for each in found]
        found.insert(writes.index(True), _Steps())
        return found

    trainer._arguments = on_gpu
    trainer._callbacks = watched
    try:
        with SimulatedGPU() as gpu:
            yield gpu
    finally:
        trainer._arguments, trainer._callbacks = arguments, callbacks
