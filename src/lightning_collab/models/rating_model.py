"""What every model of ratings offers to training, inspection and use."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from lightning_collab.config.model import ModelConfig
from lightning_collab.config.section import checked
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import FeatureBlock
from lightning_collab.data.vocabulary import Side
from lightning_collab.models.embedding_table import EmbeddingTable, TimeEffects
from lightning_collab.models.feature_rows import FeatureRows, IdDropout, SelectedRows
from lightning_collab.models.item_scores import (
    DotProductScores,
    ItemScores,
    PairwiseScores,
    Rows,
    Tables,
)
from lightning_collab.models.rating_output import DatasetStatistics, Output

if TYPE_CHECKING:
    # Lightning, which the use of a trained model does without.
    from lightning_collab.data.datamodule import RatingDataModule


class EmbeddedBatch(NamedTuple):
    """What the tables of a model and its features say of a batch of B ratings.

    Attributes:
        rows: of users and items, features included: what the ratings are computed from.
        own: the same without features: the rows of the ids alone.
        features: of `users` and `items`, where the model has any.
        effects: float [B, effects], what each effect of time adds to the rating's raw number; None
            where there is none.
    """

    rows: Rows
    own: Rows
    features: dict[str, SelectedRows]
    effects: Tensor | None


TrainedBy = Literal["gradient", "least_squares", "implicit", "gibbs"]
SIDES: tuple[Side, Side] = ("users", "items")


class EmbeddedSide(NamedTuple):
    """What the tables of a model and its features say of n users, or of n items.

    Attributes:
        rows: for each group of tables float [n, width], features included.
        own: the same without features: the rows of the ids alone.
        features: of these ids, where the side has any and they are some of many.
    """

    rows: dict[str, Tensor]
    own: dict[str, Tensor]
    features: SelectedRows | None


class TouchedRows(NamedTuple):
    """Rows of a table that a batch touches.

    Attributes:
        side: whose table it is; None: of both.
        rows: float [n, width].
        weights: float [n], how often each is touched; None: once.
    """

    side: Side | None
    rows: Tensor
    weights: Tensor | None = None


def paired(users: EmbeddedSide, items: EmbeddedSide, effects: Tensor | None) -> EmbeddedBatch:
    """Users and items of a batch, one of each a row.

    Args:
        users: of B rows.
        items: of B rows.
        effects: float [B, effects], of time; None where there is none.
    """
    both = {"users": users.features, "items": items.features}
    return EmbeddedBatch(
        {group: (rows, items.rows[group]) for group, rows in users.rows.items()},
        {group: (rows, items.own[group]) for group, rows in users.own.items()},
        {side: selected for side, selected in both.items() if selected is not None},
        effects,
    )


class RatingModel(nn.Module, ABC):
    """Turns a batch into ratings; knows nothing of how it is trained.

    `forward` is a function of the parameters and the batch alone: what it draws at random
    (dropout masks) comes from `batch.draw_seed`. How to write one: docs/extending.md.

    Example:
        >>> model = lightning_collab.MatrixProduct.for_data(data)
        >>> batch = next(iter(data.val_dataloader()))
        >>> model(batch).shape == batch.ratings.shape
        True

    Args:
        config: the `model` section.
        statistics: its feature blocks are mapped by the tables of `mapping_tables`, its effects
            of time have a number each; None: the model knows ids alone.

    Attributes:
        config: the `model` section.
        user_features: None where users have none.
        item_features: None where items have none.
        time_effects: empty where there are none.
        item_dropout: None where no rows of items are left out in training.
        user_factors: a row for each user; subclasses make it and the following.
        item_factors: a row for each item.
        user_bias: where `has_biases`.
        item_bias: where `has_biases`.
    """

    # Of the config that it is built from: `model_class(config, statistics)`.
    config_class: ClassVar[type[ModelConfig]]
    # What an exported model's card says of it.
    description: ClassVar[str] = ""
    trained_by: ClassVar[TrainedBy] = "gradient"
    # Layers and constants that `numpy_formula` needs beside the tables.
    formula_parts: ClassVar[tuple[str, ...]] = ()
    has_biases: ClassVar[bool] = True
    # Whether what features are mapped to is added to a row; else it stands beside it.
    adds_mapped: ClassVar[bool] = True

    config: ModelConfig
    user_factors: EmbeddingTable
    item_factors: EmbeddingTable
    user_bias: EmbeddingTable
    item_bias: EmbeddingTable

    def __init__(self, config: ModelConfig, statistics: DatasetStatistics | None = None) -> None:
        super().__init__()
        # Of a model whose unknown rows have been made with more care than a mean.
        self.keeps_unknown_rows = False
        self.config = config
        self.user_features = _feature_rows(statistics.user_features if statistics else ())
        self.item_features = _feature_rows(statistics.item_features if statistics else ())
        self.time_effects = TimeEffects(() if statistics is None else statistics.time_effects)
        self.item_dropout = _item_dropout(statistics)

    @classmethod
    def for_data(cls, data: "RatingDataModule", **settings: Any) -> Self:
        """A model of the users and items of some data, with freshly drawn parameters.

        They are drawn by torch's global random numbers: `torch.manual_seed` makes them the same
        again.

        Args:
            data: split ratings; the training part says which ids there are, the scale and the mean.
            settings: keys of the `model` section; the others are as shipped.

        Raises:
            ConfigError: a setting that is unknown, of a wrong type or out of range.

        Example:
            >>> model = lightning_collab.EmbeddingDotBias.for_data(data, factors=32)
            >>> model.user_factors.weight.shape
            torch.Size([31, 32])
        """
        return cls(checked(cls.config_class, settings, at="model"), DatasetStatistics.of(data))

    def forward(self, batch: RatingBatch) -> Tensor:
        """Predicted ratings.

        Args:
            batch: B users and items.

        Returns:
            float [B], in rating units, not clamped to the scale.
        """
        embedded = self.embed(batch)
        return self.rate(embedded.rows, batch, embedded.effects)

    def predict_with_deviation(self, batch: RatingBatch) -> tuple[Tensor, Tensor | None]:
        """Predicted ratings and how far ratings are likely to be from them.

        Args:
            batch: B users and items.

        Returns:
            float [B], as `forward`; float [B], standard deviations in rating units, or None where
            the model does not know them.
        """
        return self(batch), None

    def embed(self, batch: RatingBatch) -> EmbeddedBatch:
        """What the tables and the features say of the batch's users and items.

        Args:
            batch: B users and items.
        """
        users = self.embed_side("users", batch.users, batch.whole_size, batch.draw_seed)
        items = self.embed_side("items", batch.items, batch.whole_size, batch.draw_seed)
        return paired(users, items, self.time_effects(batch))

    def embed_side(
        self, side: Side, ids: Tensor, whole_size: int, draw_seed: int = 0
    ) -> EmbeddedSide:
        """What the tables and the features say of some users, or of some items.

        Args:
            side: whose rows.
            ids: int [n], rows of its vocabulary.
            whole_size: of the whole batch over all ranks, which a table that is split over ranks
                must know.
            draw_seed: of the batch, which says whose rows are left out.
        """
        features = self.features().get(side)
        own = {
            group: tables[side].rows(ids, whole_size)
            for group, tables in self.lookup_tables().items()
        }
        rows = dict(own)
        selected: SelectedRows | None
        dropout = self._dropout(side)
        if dropout is not None:
            left_out = dropout.left_out(ids, draw_seed)
            rows = {group: each * ~left_out[:, None] for group, each in own.items()}
            selected = dropout.select(ids, left_out)
        else:
            selected = None if features is None else features.select(ids)
        if selected is not None:
            for group, tables in self.mapping_tables().items():
                rows[group] = self.with_mapped(rows[group], selected.map(tables[side].weight))
        return EmbeddedSide(rows, own, selected)

    def embed_all(self, side: Side, draw_seed: int = 0) -> EmbeddedSide:
        """The same of all known users, or of all known items, in the order of their rows.

        Args:
            side: whose rows.
            draw_seed: of the batch, which says whose rows are left out.
        """
        if self._dropout(side) is not None:
            table = self.lookup_tables()["embeddings"][side]
            everyone = torch.arange(1, table.num_embeddings, device=table.weight.device)
            return self.embed_side(side, everyone, 0, draw_seed)._replace(features=None)
        features, mappings = self.features().get(side), self.mapping_tables()
        own = {group: tables[side].weight[1:] for group, tables in self.lookup_tables().items()}
        rows = dict(own)
        if features is not None:
            for group, tables in mappings.items():
                mapped = features.map_all(tables[side].weight)[1:]
                rows[group] = self.with_mapped(own[group], mapped)
        return EmbeddedSide(rows, own, None)

    def touched_rows(self, embedded: EmbeddedBatch) -> dict[str, list[TouchedRows]]:
        """The rows that a batch's ratings touch, for decay on these rows.

        A row comes once for each rating of it; of a mapping table, each row by how much its
        feature is used (see `SelectedRows.uses`).

        Args:
            embedded: from `embed`.

        Returns:
            Of each group whose parameters are rows of users, items, features or periods.
        """
        features = embedded.features
        used = {side: features[side].uses() for side in SIDES if side in features}
        mappings = self.mapping_tables()
        touched = {
            group: [
                *(TouchedRows(side, rows) for side, rows in zip(SIDES, pair, strict=True)),
                *(
                    TouchedRows(side, mappings[group][side].weight, weights)
                    for side, weights in used.items()
                    if group in mappings
                ),
            ]
            for group, pair in embedded.own.items()
        }
        if embedded.effects is not None:
            touched.setdefault("biases", []).append(TouchedRows(None, embedded.effects))
        return touched

    @abstractmethod
    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Predicted ratings of users and items whose rows are known, features included.

        Args:
            rows: from `embed`, or of `effective_tables`.
            batch: the batch they are of.
            effects: from `embed`; None: the days are not known.

        Returns:
            float [B], in rating units, not clamped to the scale.
        """

    def score(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Raw numbers of pairs, for losses that compare these; here the ratings themselves.

        Args:
            rows: as of `rate`.
            batch: the batch they are of.
            effects: as of `rate`.

        Returns:
            float [B], without a scale.
        """
        return self.rate(rows, batch, effects)

    def score_all(
        self, users: dict[str, Tensor], items: dict[str, Tensor], batch: RatingBatch
    ) -> Tensor:
        """Raw numbers of some users for some items: each user with each item.

        Args:
            users: from `embed_side`, U rows.
            items: from `embed_side` or `embed_all`, I rows.
            batch: without rows; which share of which whole batch of users it is.

        Returns:
            float [U, I], as `score`.
        """
        count, of_items = len(users["embeddings"]), len(items["embeddings"])
        rows: Rows = {
            group: (each.repeat_interleave(of_items, 0), items[group].repeat(count, 1))
            for group, each in users.items()
        }
        nobody = torch.zeros(
            count * of_items, dtype=torch.int32, device=rows["embeddings"][0].device
        )
        pairs = batch._replace(
            users=nobody,
            items=nobody,
            ratings=nobody.float(),
            start=batch.start * of_items,
            whole_size=batch.whole_size * of_items,
        )
        return self.score(rows, pairs).view(count, of_items)

    def side_parameters(self, group: str, side: str) -> list[nn.Parameter]:
        """Of a group, the parameters of the tables of users, or of items.

        Args:
            group: `embeddings` or `biases`.
            side: `users` or `items`.
        """
        tables = [
            by_group[group][side]
            for by_group in (self.lookup_tables(), self.mapping_tables())
            if side in by_group.get(group, {})
        ]
        return [parameter for table in tables for parameter in table.parameters()]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters, by the names `embeddings`, `biases`, `hidden`, `output`.

        Here those of the tables and of the effects of time, which are among the `biases`.
        """
        groups: dict[str, list[nn.Parameter]] = {}
        for by_group in (self.lookup_tables(), self.mapping_tables()):
            for group, tables in by_group.items():
                parameters = [p for table in tables.values() for p in table.parameters()]
                groups[group] = groups.get(group, []) + parameters
        if len(self.time_effects):
            groups.setdefault("biases", []).extend(self.time_effects.parameters())
        return groups

    def lookup_tables(self) -> dict[str, dict[str, EmbeddingTable]]:
        """The tables with a row for each user or item.

        Returns:
            For each of the groups `embeddings` and `biases` that the model has, a dictionary with
            the keys `users` and `items`: which ids the rows stand for.
        """
        tables = {"embeddings": {"users": self.user_factors, "items": self.item_factors}}
        if self.has_biases:
            tables["biases"] = {"users": self.user_bias, "items": self.item_bias}
        return tables

    def features(self) -> dict[str, FeatureRows]:
        """Of `users` and of `items`, those that have any."""
        both = {"users": self.user_features, "items": self.item_features}
        return {side: features for side, features in both.items() if features is not None}

    def _dropout(self, side: Side) -> IdDropout | None:
        return self.item_dropout if self.training and side == "items" else None

    def mapping_tables(self) -> dict[str, dict[str, nn.Embedding]]:
        """The tables with a row for each feature.

        Returns:
            For each group of `lookup_tables` that features add to, a dictionary with the keys
            `users` and `items`, those that have features; empty where there are none.
        """
        return {}

    def with_mapped(self, own: Tensor, mapped: Tensor) -> Tensor:
        """Rows of ids together with what their features are mapped to; here their sum.

        Args:
            own: float [n, width].
            mapped: float [n, width].
        """
        return own + mapped

    @property
    def raw_output(self) -> Output:
        """From the sum of dot product, biases and effects to a rating; of dot products alone."""
        return Output(sigmoid=False, low=0.0, span=1.0)

    def numpy_formula(self) -> tuple[str, ...]:
        """Lines of Python for an exported model's card: from rows `p` and `q` to `rating`.

        Returns:
            Empty where there is none to be shown.
        """
        return ()

    @torch.no_grad()
    def effective_tables(self) -> Tables:
        """The effective row of each user and item, features included.

        Returns:
            For each group of `lookup_tables`: `users` and `items`, float [rows, width], detached;
            row 0 is that of unknown ids. Without features, the weights of `lookup_tables`.
        """
        mappings, features = self.mapping_tables(), self.features()
        return {
            group: {
                side: self.with_mapped(
                    table.weight, features[side].map_all(mappings[group][side].weight)
                )
                if side in mappings.get(group, {})
                else table.weight.detach()
                for side, table in tables.items()
            }
            for group, tables in self.lookup_tables().items()
        }

    def export_tables(self) -> Tables:
        """The tables from which the model's formula gives its predictions, detached."""
        return self.effective_tables()

    def item_scores(self) -> ItemScores:
        """The fastest scores of items that are exact for the model, in evaluation mode."""
        return PairwiseScores(self.effective_tables(), self.rate_rows)

    def ranking_scores(self) -> ItemScores:
        """The same in raw numbers, for a model that was trained to rank."""
        scores = self.item_scores()
        if type(scores) in (DotProductScores, PairwiseScores):
            return type(scores)(self.effective_tables(), self.score_rows)
        return scores

    def score_rows(self, rows: Rows) -> Tensor:
        """Raw numbers of pairs whose table rows are known, whoever they belong to.

        Args:
            rows: for each group, float [n, width] of users and of items.
        """
        nobody = rows["embeddings"][0].new_zeros(len(rows["embeddings"][0]), dtype=torch.int32)
        return self.score(rows, RatingBatch(nobody, nobody, nobody.float()))

    def rate_rows(self, rows: Rows) -> Tensor:
        """Ratings of pairs whose table rows are known, whoever they belong to.

        Args:
            rows: for each group, float [n, width] of users and of items.
        """
        of_users = rows["embeddings"][0]
        nobody = torch.zeros(len(of_users), dtype=torch.int32, device=of_users.device)
        return self.rate(rows, RatingBatch(nobody, nobody, nobody.float()))

    def embedding_tables(self) -> dict[str, Tensor]:
        """The embeddings for inspection, features included, without the unknown row.

        Returns:
            `users` and `items`: float [known ids, factors], detached.
        """
        tables = self.effective_tables()["embeddings"]
        return {side: table[1:] for side, table in tables.items()}

    def fill_unknown_rows(self) -> None:
        """Give the unknown row of each table the mean of the known rows.

        Training never touches the unknown row. The mean makes an unknown user or item a
        typical one, so that the prediction follows from what is known of the other side. What
        features add to it is the mean too, since its features are the mean of the known ones.
        """
        if self.keeps_unknown_rows:
            return
        for tables in self.lookup_tables().values():
            for table in tables.values():
                table.fill_unknown_row()


def _item_dropout(statistics: DatasetStatistics | None) -> IdDropout | None:
    """Where something is known of items beside ids and history."""
    if statistics is None or not statistics.id_dropout:
        return None
    return IdDropout(statistics.id_dropout, statistics.item_features)


def _feature_rows(blocks: tuple[FeatureBlock, ...]) -> FeatureRows | None:
    return FeatureRows(blocks) if blocks else None
