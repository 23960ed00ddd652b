"""Tables with a row for each feature, which map features onto embeddings or biases."""

from torch import nn

from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.feature_rows import FeatureRows


class MappingTables(nn.Module):
    """A table for each side that has features.

    Args:
        features: of `users` and `items`, those that have any.
        width: length of a row.
        init_range: as for `EmbeddingTable`; a mapped row is then about as long as one of these.
    """

    def __init__(self, features: dict[str, FeatureRows], width: int, init_range: float) -> None:
        super().__init__()
        for side, rows in features.items():
            self.add_module(f"of_{side}", EmbeddingTable(rows.width, width, init_range))

    def by_side(self) -> dict[str, nn.Embedding]:
        """The tables, by side."""
        return {
            name.removeprefix("of_"): table
            for name, table in self.named_children()
            if isinstance(table, nn.Embedding)
        }
