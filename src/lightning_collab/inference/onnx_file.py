"""ONNX: a graph that any of its runtimes computes, compared with the model before it is kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import LightningCollabError
from lightning_collab.inference.prediction import predict
from lightning_collab.training.trained_model import TrainedModel

INPUTS = ("user_row", "item_row")
OUTPUT, SCORE = "rating", "score"
# Pairs on which the graph is compared with the model.
COMPARED = 10_000
# In rating units.
TOLERANCE = 1e-4
# Of tables: a graph with its weights must stay below 2 GiB.
MOST_BYTES = 2_000_000_000


class ExportError(LightningCollabError):
    """A model that cannot be exported as asked."""


def onnx_bytes(run: TrainedModel) -> bytes:
    """The model as an ONNX graph.

    Inputs `user_row` and `item_row`, int64 [pairs], rows of the vocabularies, 0 for unknown ids;
    output `rating`, float32 [pairs], clamped to the scale, or `score`, raw, of a run that learned
    to rank. The number of pairs is free.

    Args:
        run: the trained run.

    Returns:
        The content of the file.

    Raises:
        ExportError: a package is missing, the tables are too large for the format, or the graph
            does not compute what the model does.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"format=onnx needs {error.name}: pip install 'lightning-collab[export]'"
        ) from error
    model = ExportedModel(run).eval()
    size = sum(table.nbytes for sides in model.tables.values() for table in sides.values())
    if size > MOST_BYTES:
        raise ExportError(
            f"the tables take {size / 2**30:.1f} GiB, and an ONNX file holds less than 2 GiB; set "
            "format=safetensors"
        )
    content = _exported(model)
    _check(run, content)
    return content


def _exported(model: ExportedModel) -> bytes:
    # Two tensors: of one that is given twice, the graph would have one input.
    users, items = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    pairs = torch.export.Dim("pairs", min=1)
    with _quiet():
        program = torch.onnx.export(
            model,
            (users, items),
            input_names=list(INPUTS),
            output_names=[SCORE if model.ranks else OUTPUT],
            dynamic_shapes={name: {0: pairs} for name in INPUTS},
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise ExportError("torch produced no graph of the model")
    content: bytes = program.model_proto.SerializeToString()
    return content


def _check(run: TrainedModel, content: bytes) -> None:
    """Compare the graph with the run's own predictions, unknown rows and a single pair too."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    users = random.integers(0, len(run.user_vocabulary), COMPARED)
    items = random.integers(0, len(run.item_vocabulary), COMPARED)
    users[0] = items[1] = 0
    ids = run.user_vocabulary.decode(users), run.item_vocabulary.decode(items)
    expected = predict(run, *ids)[run.shown_as].to_numpy()
    found = session.run(None, dict(zip(INPUTS, (users, items), strict=True)))[0]
    single = session.run(None, dict(zip(INPUTS, (users[:1], items[:1]), strict=True)))[0]
    difference = max(float(np.abs(found - expected).max()), float(abs(single[0] - expected[0])))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the graph does not compute what the model does (they differ by {difference:.2g}); "
            "nothing is written"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on packages that this model has no need of."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)


class ExportedModel(nn.Module):
    """Rows of a user and an item -> a rating on the scale.

    What features add to a row is in the tables; effects of time are left out, as of a day that is
    not known.

    Args:
        run: the trained run.

    Attributes:
        tables: for each group, float32 [rows, width] of `users` and of `items`.
        rating_range: lowest and highest rating, to which predictions are clamped.
    """

    def __init__(self, run: TrainedModel) -> None:
        super().__init__()
        self.tables = {
            group: {side: table.float().contiguous() for side, table in sides.items()}
            for group, sides in run.model.export_tables().items()
        }
        for group, sides in self.tables.items():
            for side, table in sides.items():
                self.register_buffer(f"{side}_{group}", table)
        self.rating_range = run.rating_range
        self.ranks = run.ranks
        self.model = run.model

    def forward(self, user_row: Tensor, item_row: Tensor) -> Tensor:
        """Predicted ratings, float32 [n].

        Args:
            user_row: int64 [n]; 0: not known.
            item_row: int64 [n]; 0: not known.
        """
        rows = {
            group: (
                nn.functional.embedding(user_row, getattr(self, f"users_{group}")),
                nn.functional.embedding(item_row, getattr(self, f"items_{group}")),
            )
            for group in self.tables
        }
        batch = RatingBatch(user_row, item_row, user_row.float())
        if self.ranks:
            return self.model.score(rows, batch)
        return self.model.rate(rows, batch).clamp(*self.rating_range)

    def further_weights(self) -> dict[str, Tensor]:
        """What the formula needs beside the tables: layers and constants."""
        return {
            name: value
            for name, value in self.model.state_dict().items()
            if name.split(".")[0] in self.model.formula_parts
        }
