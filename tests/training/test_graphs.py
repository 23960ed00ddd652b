"""Steps that are recorded and launched again, on a simulated GPU: those of autograd, to rounding.

What a graph bakes in is baked in by the tape that stands for it: each operation of the recorded
step, on the tensors that it had then.
"""

import pytest
import torch
from simulated_gpu import mark, simulated_gpu
from support import composed
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from lightning_collab.config import validated
from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.models.embedding_net import BatchDropout
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training import graphs
from lightning_collab.training.graphs import GraphedSteps
from lightning_collab.training.modules import rating_module
from lightning_collab.training.optimizers import GraphedSGD
from lightning_collab.training.run import train

SMALL = (
    "data=synthetic",
    "data.ratings=3000",
    "data.batch_size=512",
    "model.factors=8",
    "trainer.accelerator=auto",
    "trainer.max_epochs=4",
    "optimizer.lr=0.02",
    "callbacks.report=null",
    "callbacks.projector=null",
    "callbacks.progress_bar=false",
    "logger=none",
)
NET = ("model=embedding_net",)
SGD = ("optimizer=sgd", "optimizer.lr=1")
SPARSE = "optimizer.sparse=true"
TOLD = ("features=everything", "data.timestamps=true")
CASES = {
    "dot_bias": (),
    "per_row": ("optimizer.decay=per_row", "optimizer.frequency_power=0.5"),
    "adamw": ("optimizer=adamw",),
    "net": NET,
    "matrix_product": ("model=matrix_product",),
    "momentum": SGD,
    "decoupled": (*SGD, "optimizer.decay=decoupled"),
    "clipping": (*SGD, "trainer.gradient_clip_val=0.02"),
    "groups": ("optimizer.groups.biases.lr_scale=3", "optimizer.groups.biases.weight_decay=0.2"),
    "ema": ("averaging=ema", "averaging.decay=0.9"),
    "one_cycle": ("scheduler=one_cycle",),
    "bpr": ("loss=bpr",),
    "net_bce": ("loss=bce", *NET, "optimizer.lr=0.002"),
}


class Tape(TorchDispatchMode):
    """The operations of a step, and what each made."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, made))
        return made


class TapeRecorder:
    """In place of CUDA's: operations are done again, on what those before them made."""

    records = 0

    def warm(self, step):
        return step()

    def record(self, step):
        TapeRecorder.records += 1
        optimizer = step.__closure__[1].cell_contents._optimizer
        moving = [
            *(each for group in optimizer.param_groups for each in group["params"]),
            *(
                each
                for state in optimizer.state.values()
                for each in state.values()
                if isinstance(each, torch.Tensor)
            ),
        ]
        before = [each.detach().clone() for each in moving]
        with Tape() as tape:
            losses = step()
        # A graph is recorded without a step being taken.
        with torch.no_grad():
            for each, was in zip(moving, before, strict=True):
                each.copy_(was)
        return lambda: self._replay(tape.done, losses)

    @staticmethod
    @torch.no_grad()
    def _replay(done, losses):
        new = {}

        def now(tensor):
            return new.get(id(tensor), tensor)

        for func, args, kwargs, made in done:
            words, named = tree_map_only(torch.Tensor, now, (args, kwargs))
            again = func(*words, **named)
            olds = made if isinstance(made, tuple | list) else (made,)
            news = again if isinstance(again, tuple | list) else (again,)
            for old, found in zip(olds, news, strict=True):
                if isinstance(old, torch.Tensor):
                    new[id(old)] = mark(found)
        return graphs.Losses(*(now(each) for each in losses))


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    monkeypatch.setattr(rating_module, "CudaRecorder", TapeRecorder)
    TapeRecorder.records = 0


def fitted(folder, *overrides, resume=False):
    """Metrics of the validation, and the weights, of a run."""
    config = validated(composed(*SMALL, *overrides))
    found = train(config, RunDirectory(folder), resume=resume, test=False)
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    measured = {key: value for key, value in found.items() if key.startswith("val/")}
    return measured, checkpoint["state_dict"]


def assert_alike(one, other):
    assert one[0] == pytest.approx(other[0], abs=2e-5)
    assert one[1].keys() == other[1].keys()
    for name, weights in one[1].items():
        torch.testing.assert_close(weights, other[1][name], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_they_are_the_steps_of_autograd(tmp_path, case):
    with simulated_gpu() as gpu:
        recorded = fitted(tmp_path / "graphs", *CASES[case], "training.engine=graphs")
        assert gpu.mixed == []
        assert gpu.read_in_steps == []
    # Whole batches, and the last of an epoch.
    assert TapeRecorder.records == 2
    with simulated_gpu():
        assert_alike(recorded, fitted(tmp_path / "eager", *CASES[case], "training.engine=eager"))


def test_a_step_is_counted_and_a_run_goes_on_in_either_engine(tmp_path):
    constant = ("scheduler=constant", "optimizer=sgd", "optimizer.lr=1")
    with simulated_gpu():
        whole = fitted(tmp_path / "whole", *constant, "training.engine=graphs")
        for first, then in (("graphs", "graphs"), ("eager", "graphs"), ("graphs", "eager")):
            folder = tmp_path / f"{first}_{then}"
            early = ("trainer.max_epochs=2", f"training.engine={first}")
            fitted(folder, *constant, *early)
            later = fitted(folder, *constant, f"training.engine={then}", resume=True)
            assert_alike(later, whole)
            checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
            assert checkpoint["steps_done"] == 4 * 5


def test_masks_that_are_recorded_with_a_step_would_be_seen(tmp_path, monkeypatch):
    """The comparison above tells masks that are drawn ahead from those of one batch for all."""
    drawn = BatchDropout.draw
    with simulated_gpu():
        eager = fitted(tmp_path / "eager", *NET, "training.engine=eager")
    monkeypatch.setattr(BatchDropout, "draw", lambda self, mask, seed: drawn(self, mask, 1))
    with simulated_gpu():
        recorded = fitted(tmp_path / "graphs", *NET, "training.engine=graphs")
    assert recorded[0] != pytest.approx(eager[0], abs=2e-5)


def test_a_step_that_cannot_be_recorded_is_told(tmp_path, monkeypatch):
    def record(self, step):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(TapeRecorder, "record", record)
    with simulated_gpu(), pytest.raises(TrainingError, match=r"graphs.*capturing.*eager"):
        fitted(tmp_path, "training.engine=graphs")


def test_many_shapes_are_not_all_recorded():
    """Beyond the most, a step is taken as it is."""
    model = torch.nn.Linear(1, 1)
    optimizer = GraphedSGD(model.parameters(), lr=0.1)

    class Objective:
        def __init__(self):
            self.model = model

        def __call__(self, batch):
            loss = model(batch.ratings[:, None]).square().sum()
            return loss, loss

    steps = GraphedSteps(Objective(), optimizer, clip=None, recorder=TapeRecorder())
    for size in range(1, graphs.MOST_SHAPES + 3):
        before = model.weight.detach().clone()
        steps.take(RatingBatch(torch.ones(size), torch.ones(size), torch.ones(size)))
        assert model.weight != before
    assert len(steps._recorded) == graphs.MOST_SHAPES


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("trainer=cpu",), "trainer=cpu is not on a GPU"),
        (("trainer=ddp",), "runs in one process"),
        (("features=history",), "as many features"),
        ((*TOLD, "features.id_dropout=0.1"), "as many features"),
        (("loss=softmax",), "each batch has another size"),
        (("optimizer=torch", "optimizer.class_name=RMSprop"), "torch.optim.RMSprop"),
        (("optimizer=sgd", "optimizer.momentum=0", "optimizer.decay=per_row", SPARSE), SPARSE),
        (("optimizer.groups.embeddings.users.lazy=true",), "users.lazy"),
        (("trainer=gpu", "trainer.precision=bf16-mixed"), "trainer.precision=bf16-mixed"),
        (("trainer=gpu", "trainer.accumulate_grad_batches=2"), "accumulate_grad_batches"),
    ],
)
def test_what_it_cannot_do_is_refused_before_data_is_read(options, reason):
    told = rf"training\.engine=graphs: .*{reason}.*set training\.engine="
    with pytest.raises(ConfigError, match=told):
        validated(composed("data=synthetic", "training.engine=graphs", *options))
