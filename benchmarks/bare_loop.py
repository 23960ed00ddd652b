"""The lecture's training as a bare loop of torch: what an engine has to beat."""

import time
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import SGDConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.models.config import EmbeddingDotBiasConfig


class BareLoop(NamedTuple):
    """Embeddings, biases, sigmoid and momentum SGD, without Lightning and without our classes.

    Attributes:
        tables: factors of users and items, then biases of users and items.
        optimizer: over all of them.
        columns: users, items and ratings of the training part.
        batch_size: ratings in a step.
        scale: low end and width of the sigmoid.
    """

    tables: list[nn.Embedding]
    optimizer: torch.optim.Optimizer
    columns: tuple[Tensor, ...]
    batch_size: int
    scale: tuple[float, float]

    @classmethod
    def of(cls, config: RunConfig, data: RatingDataModule) -> "BareLoop":
        """The loop that does what a config asks for.

        Args:
            config: of momentum SGD on `embedding_dot_bias`, all groups alike, with the decay on the
                gradient, at a constant rate.
            data: its ratings.
        """
        model, sgd, size = config.model, config.optimizer, config.batch_size
        assert isinstance(model, EmbeddingDotBiasConfig)
        assert isinstance(sgd, SGDConfig)
        assert sgd.decay == "gradient"
        assert size != "full"
        torch.manual_seed(config.seed)
        rows = [len(data.user_vocabulary), len(data.item_vocabulary)]
        tables = [nn.Embedding(count, width) for width in (model.factors, 1) for count in rows]
        for table in tables:
            nn.init.uniform_(table.weight, -model.init_range, model.init_range)
        low, high = data.table.rating_range
        optimizer = torch.optim.SGD(
            [table.weight for table in tables],
            lr=sgd.lr,
            momentum=sgd.momentum,
            weight_decay=sgd.weight_decay,
        )
        train = data.columns(data.rows.train)
        columns = (train.users, train.items, train.ratings)
        tensors = tuple(torch.from_numpy(column) for column in columns)
        return cls(tables, optimizer, tensors, size, (low, high - low))

    def on(self, device: str) -> Self:
        """The same there, before its first step."""
        for table in self.tables:
            table.to(device)
        return self._replace(columns=tuple(column.to(device) for column in self.columns))

    def epoch(self) -> tuple[float, float]:
        """Train for an epoch, in an order drawn anew.

        Returns:
            Its seconds, and the mean squared error of its batches.
        """
        users, items, ratings = self.columns
        p, q, b, c = self.tables
        low, span = self.scale
        total = torch.zeros((), device=users.device)
        started = time.perf_counter()
        order = torch.randperm(len(ratings)).to(users.device)
        for first in range(0, len(ratings), self.batch_size):
            rows = order[first : first + self.batch_size]
            user, item = users[rows], items[rows]
            raw = (p(user) * q(item)).sum(1) + (b(user) + c(item)).squeeze(1)
            squares = (torch.sigmoid(raw) * span + low - ratings[rows]).square()
            self.optimizer.zero_grad()
            torch.autograd.backward(squares.mean())
            self.optimizer.step()
            total += squares.detach().sum()
        mean = float(total) / len(ratings)  # a GPU has ended with this
        return time.perf_counter() - started, mean
