"""Rows of users and items without training ratings, made of what is known of them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, vstack
from torch import Tensor, nn

from lightning_collab.data.features.encoders import Encoder, missing_in
from lightning_collab.data.vocabulary import UNKNOWN_ROW, Side, Vocabulary
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.models.item_scores import DotProductScores
from lightning_collab.models.rating_map import WIDEST, RatedRows, can_fit, fit_rating_map
from lightning_collab.models.rating_model import SIDES, RatingModel
from lightning_collab.models.row_map import RowMap, SampledMaps, fit_row_map

# Rows of a model that learned choices count by their numbers of ratings to this power, chosen among
# 0, 1/4, 1/2 and 1 on draws of cold items (45 to 47) that no table has; others by the numbers.
COUNT_POWER = 0.5
OTHER: dict[Side, Side] = {"users": "items", "items": "users"}


@dataclass(frozen=True, eq=False)
class ColdSide:
    """What a trained model makes of users, or of items, that it never saw.

    Attributes:
        described_by: encoders of the columns that the map is of.
        blocks: encoders of the model's own feature blocks, in their order; empty: it has none.
        map: from the described columns to whole rows, all groups side by side.
        unknown: float32 [width], the row of an id of which nothing is known.
        widths: of each group, in the order of the rows.
        mapped: whether the rows of the map hold what the model's own features add.
        ids: raw ids with a row, ascending.
        rows: float32 [ids, width], from the map.
        features: [ids, features of the model], where it has any.
        sampled: of a model of samples, in place of `map`: rows are drawn for each.
        samples: float32 [S, ids, width], of these, bias first.
    """

    described_by: tuple[Encoder, ...]
    blocks: tuple[Encoder, ...]
    map: RowMap
    unknown: NDArray[np.float32]
    widths: dict[str, int]
    mapped: bool
    ids: pl.Series
    rows: NDArray[np.float32]
    features: csr_array | None
    sampled: SampledMaps | None = None
    samples: NDArray[np.float32] | None = None

    def columns(self) -> tuple[str, ...]:
        """Of a table, those that rows are made of."""
        return tuple(each.column for each in self.described_by if each.column)

    def without_values(self, table: pl.DataFrame) -> list[str]:
        """Those of `columns` in which no line of a table has a value.

        Args:
            table: of new ids.
        """
        return [
            name
            for name in self.columns()
            if name not in table.columns or missing_in(table[name]).all()
        ]

    def with_ids(self, table: pl.DataFrame) -> Self:
        """With the rows of further ids.

        Args:
            table: raw ids, which have no row yet, in the first column; features in the others.
        """
        ids = pl.concat([self.ids, table.to_series(0).cast(self.ids.dtype).alias(self.ids.name)])
        described = encoded(self.described_by, table)
        samples = self.samples
        if self.sampled is None or samples is None:
            rows = self.map.rows(described).astype(np.float32)
        else:
            drawn = self.sampled.draw(described, table.to_series(0))
            # The means of the samples, the bias last as in the tables.
            rows = np.roll(drawn.mean(0), -1, axis=1)
            samples = np.concatenate([samples, drawn], axis=1)
        order = ids.arg_sort()
        place = order.to_numpy()
        features = self.features
        if features is not None:
            parts = [features, encoded(self.blocks, table)]
            features = csr_array(csr_array(vstack(parts, format="csr"))[place])
        return replace(
            self,
            ids=ids.gather(order),
            rows=np.concatenate([self.rows, rows])[place],
            features=features,
            samples=None if samples is None else samples[:, place],
        )

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that `from_state` takes."""
        features = self.features
        return {
            "described_by": [each.state() for each in self.described_by],
            "blocks": [each.state() for each in self.blocks],
            "intercept": torch.from_numpy(self.map.intercept),
            "coefficients": torch.from_numpy(self.map.coefficients),
            "penalty": float(self.map.penalty),
            "unknown": torch.from_numpy(self.unknown),
            "widths": dict(self.widths),
            "mapped": self.mapped,
            "ids": Vocabulary(self.ids).state(),
            "rows": torch.from_numpy(self.rows),
            "features": None
            if features is None
            else {
                "values": torch.from_numpy(features.data),
                "indices": torch.from_numpy(features.indices),
                "indptr": torch.from_numpy(features.indptr),
                "width": features.shape[1],
            },
            "sampled": None if self.sampled is None else self.sampled.state(),
            "samples": None if self.samples is None else torch.from_numpy(self.samples),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state` came from."""
        features = state["features"]
        if features is not None:
            parts = tuple(features[key].numpy() for key in ("values", "indices", "indptr"))
            features = csr_array(parts, shape=(len(parts[2]) - 1, features["width"]))
        return cls(
            tuple(Encoder.from_state(each) for each in state["described_by"]),
            tuple(Encoder.from_state(each) for each in state["blocks"]),
            RowMap(
                state["intercept"].numpy(), state["coefficients"].numpy(), float(state["penalty"])
            ),
            state["unknown"].numpy(),
            dict(state["widths"]),
            bool(state["mapped"]),
            Vocabulary.from_state(state["ids"]).ids,
            state["rows"].numpy(),
            features,
            None if state["sampled"] is None else SampledMaps.from_state(state["sampled"]),
            None if state["samples"] is None else state["samples"].numpy(),
        )


def fit_cold_side(
    model: RatingModel,
    side: Side,
    table: pl.DataFrame,
    training: Mapping[Side, NDArray[np.int32]],
    ratings: NDArray[np.float32] | None,
    described_by: tuple[Encoder, ...],
    blocks: tuple[Encoder, ...],
    *,
    stand_in: bool = False,
) -> ColdSide:
    """The map from features to the rows of a trained model; nobody has a row by it yet.

    Of a model that learned without some rows of items in each step it is what the features have
    learned. For a dot product of one that learned ratings it is the one that gives them best. For
    others it is a regression of the rows, weighted by their numbers of training ratings, since
    those of the rarely rated are mostly noise.

    Args:
        model: trained, on the CPU.
        side: whose rows.
        table: a line for each known id, in the order of the model's rows: raw id and features.
        training: int32 [n], rows of users and items of the training ratings.
        ratings: float32 [n], in rating units; None: the model did not learn ratings.
        described_by: encoders of the table's columns.
        blocks: of the model's own feature blocks.
        stand_in: whether these have learned to do without rows of ids (`features.id_dropout`).
    """
    whole = model.adds_mapped
    counts = {
        each: np.bincount(training[each], minlength=tables[each].num_embeddings)
        for each, tables in ((side, model.lookup_tables()["embeddings"]) for side in SIDES)
    }
    tables: Any = model.effective_tables() if whole else _own_tables(model)
    groups = list(model.lookup_tables())
    rows = np.concatenate([_plain(tables[group][side][1:]) for group in groups], axis=1)
    weights = counts[side][1:].astype(np.float64)
    features = encoded(described_by, table)
    if stand_in:
        found = _learned_map(model, side, blocks, described_by, rows.shape[1])
    else:
        rated = _rated_rows(model, side, tables, counts, training, ratings)
        found = _fitted_map(model, features, rows, weights, rated, counts[OTHER[side]])
    unknown = weights @ rows / weights.sum()
    sampled = samples = None
    if isinstance(model, BayesianFactors):
        # Of the unknown the prior of each sample says what is to be expected.
        unknown = np.concatenate([_plain(tables[group][side][0]) for group in groups])
        kept = {each: _samples(model, each) for each in SIDES}
        sampled = SampledMaps.fit(features, kept[side], kept[OTHER[side]], weights)
        samples = np.zeros((len(kept[side]), 0, rows.shape[1]), np.float32)
    return ColdSide(
        described_by,
        blocks,
        found,
        unknown.astype(np.float32),
        {group: tables[group][side].shape[1] for group in groups},
        whole,
        table.to_series(0)[:0],
        np.zeros((0, rows.shape[1]), np.float32),
        csr_array((0, sum(each.width for each in blocks)), dtype=np.float32) if blocks else None,
        sampled,
        samples,
    )


def _rated_rows(
    model: RatingModel,
    side: Side,
    tables: Any,
    counts: Mapping[Side, NDArray[np.int64]],
    training: Mapping[Side, NDArray[np.int32]],
    ratings: NDArray[np.float32] | None,
) -> RatedRows:
    """The training ratings by rows of one side; without ratings only the rows of the other."""
    other = OTHER[side]
    vectors = [
        _plain(each[other][1:]) if group == "embeddings" else np.ones((len(each[other]) - 1, 1))
        for group, each in tables.items()
        if group in model.lookup_tables()
    ]
    # Sorting them takes long, and only a map of ratings looks at them.
    order = np.argsort(training[side] if ratings is not None else (), kind="stable")
    levels = np.zeros(len(vectors[0]))
    if "biases" in tables:
        levels = _plain(tables["biases"][other][1:])[:, 0]
    return RatedRows(
        np.concatenate([[0], np.cumsum(counts[side][1:])]),
        training[other][order] - 1,
        np.empty(0) if ratings is None else ratings[order],
        np.concatenate(vectors, axis=1),
        levels,
        model.raw_output,
    )


def _fitted_map(
    model: RatingModel,
    features: csr_array,
    rows: NDArray[np.float64],
    weights: NDArray[np.float64],
    rated: RatedRows,
    of_others: NDArray[np.int64],
) -> RowMap:
    """The map that is made after the training."""
    # A network does not multiply the rows of both sides.
    metric = None
    if model.adds_mapped and rows.shape[1] <= WIDEST:
        weighted = rated.vectors * of_others[1:, None]
        metric = weighted.T @ rated.vectors / max(1, of_others.sum())
    with_ratings = len(rated.ratings) > 0
    found = fit_row_map(features, rows, weights if with_ratings else weights**COUNT_POWER, metric)
    dot_product = model.adds_mapped and type(model.item_scores()) is DotProductScores
    if dot_product and with_ratings and can_fit(features.shape[1], rows.shape[1]):
        return fit_rating_map(rated, features, found)
    return found


def _learned_map(
    model: RatingModel,
    side: Side,
    blocks: tuple[Encoder, ...],
    described_by: tuple[Encoder, ...],
    width: int,
) -> RowMap:
    """What the features of a model have learned that was trained to do without rows of ids.

    Where these are not added to a row, its own part is zero.
    """
    if not model.adds_mapped:
        count = sum(each.width for each in described_by)
        return RowMap(np.zeros(width), np.zeros((count, width)), 0.0)
    tables = model.mapping_tables().values()
    whole = np.concatenate([_plain(by_side[side].weight) for by_side in tables], axis=1)
    parts = np.split(whole, np.cumsum([each.width for each in blocks])[:-1])
    kept = [part for part, block in zip(parts, blocks, strict=True) if block in described_by]
    return RowMap(np.zeros(width), np.concatenate(kept), 0.0)


def _samples(model: BayesianFactors, side: Side) -> NDArray[np.float32]:
    """The kept samples of the known rows of a side, float32 [S, rows, width], bias first."""
    samples = model.user_samples if side == "users" else model.item_samples
    found: NDArray[np.float32] = samples[: int(model.kept), 1:].detach().cpu().float().numpy()
    return found


def encoded(encoders: tuple[Encoder, ...], table: pl.DataFrame) -> csr_array:
    """The entries of all encoders side by side, [rows, features].

    Args:
        encoders: of the table's columns; those that it lacks are empty.
        table: a line for each id.
    """
    parts = [
        each.encode(table[each.column] if each.column in table.columns else None, len(table))
        for each in encoders
    ]
    if not parts:
        return csr_array((len(table), 0), dtype=np.float32)
    return csr_array(hstack(parts, format="csr"))


@torch.no_grad()
def extended(model: RatingModel, cold: Mapping[Side, ColdSide]) -> RatingModel:
    """A copy of a model with rows for ids that it never saw, behind its own.

    What it predicts for its own ids is the same. The unknown row becomes the mean of the known
    ones, weighted by their ratings.

    Args:
        model: trained; not changed.
        cold: by side.
    """
    grown = copy.deepcopy(model)
    grown.keeps_unknown_rows = True
    for side in SIDES:
        if side not in cold:
            continue
        which = cold[side]
        rows = torch.from_numpy(np.concatenate([which.unknown[None], which.rows]))
        cuts = torch.split(rows, list(which.widths.values()), dim=1)
        parts = dict(zip(which.widths, cuts, strict=True))
        features = grown.features().get(side)
        if features is not None:
            entries = which.features
            if entries is None:
                entries = csr_array((len(which.ids), features.width), dtype=np.float32)
            features.append(entries)
        for group, tables in grown.lookup_tables().items():
            table, part = tables[side], parts[group].to(tables[side].weight)
            mapping = grown.mapping_tables().get(group, {}).get(side)
            if which.mapped and features is not None and mapping is not None:
                whole = features.map_all(mapping.weight)
                part = part - torch.cat([whole[:1], whole[len(whole) - len(which.ids) :]])
            table.weight = nn.Parameter(
                torch.cat([part[:1], table.weight[UNKNOWN_ROW + 1 :], part[1:]]),
                requires_grad=table.weight.requires_grad,
            )
            table.num_embeddings = len(table.weight)
        if isinstance(grown, BayesianFactors) and which.samples is not None:
            grown.append(side, torch.from_numpy(which.samples))
    return grown


def _own_tables(model: RatingModel) -> dict[str, dict[str, Tensor]]:
    return {
        group: {side: table.weight.detach() for side, table in tables.items()}
        for group, tables in model.lookup_tables().items()
    }


def _plain(table: Tensor) -> NDArray[np.float64]:
    return table.detach().cpu().double().numpy()
