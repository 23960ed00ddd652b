"""What every model of ratings offers to training, inspection and use."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import UNKNOWN_ROW


class RatingModel(nn.Module, ABC):
    """Turns a batch into ratings; knows nothing of how it is trained.

    `forward` is a function of the parameters and the batch alone: what it draws at random
    (dropout masks) comes from `batch.draw_seed`.
    """

    def forward(self, batch: RatingBatch) -> Tensor:
        """Predicted ratings.

        Args:
            batch: B users and items.

        Returns:
            float [B], in rating units, not clamped to the scale.
        """
        return self.rate(self.embed(batch), batch)

    def embed(self, batch: RatingBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """The table rows of the batch's users and items.

        Args:
            batch: B users and items.

        Returns:
            For each group of `lookup_tables`: float [B, width] of the users and of the items.
        """
        return {
            group: (tables["users"](batch.users), tables["items"](batch.items))
            for group, tables in self.lookup_tables().items()
        }

    @abstractmethod
    def rate(self, rows: dict[str, tuple[Tensor, Tensor]], batch: RatingBatch) -> Tensor:
        """Predicted ratings of users and items whose table rows are known.

        Args:
            rows: from `embed`.
            batch: the batch they are of.

        Returns:
            float [B], in rating units, not clamped to the scale.
        """

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters, by the names `embeddings`, `biases`, `hidden`, `output`."""

    @abstractmethod
    def lookup_tables(self) -> dict[str, dict[str, nn.Embedding]]:
        """The tables with a row for each user or item.

        Returns:
            For each of the groups `embeddings` and `biases` that the model has, a dictionary with
            the keys `users` and `items`: which ids the rows stand for.
        """

    def embedding_tables(self) -> dict[str, Tensor]:
        """The embeddings for inspection, without the unknown row.

        Returns:
            `users` and `items`: float [known ids, factors], detached.
        """
        tables = self.lookup_tables()["embeddings"]
        return {side: table.weight.detach()[1:] for side, table in tables.items()}

    def fill_unknown_rows(self) -> None:
        """Give the unknown row of each table the mean of the known rows.

        Training never touches the unknown row. The mean makes an unknown user or item a
        typical one, so that the prediction follows from what is known of the other side.
        """
        for tables in self.lookup_tables().values():
            for table in tables.values():
                weight = table.weight.data
                if len(weight) > 1:
                    weight[UNKNOWN_ROW] = weight[UNKNOWN_ROW + 1 :].mean(0)
