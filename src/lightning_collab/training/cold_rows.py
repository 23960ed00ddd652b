"""Users and items without training ratings, of which only features are known, in a trained run."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from lightning_collab.config.model import MetricsConfig
from lightning_collab.config.section import checked
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.features.build import describing_encoders, lines_of
from lightning_collab.data.vocabulary import Side, Vocabulary
from lightning_collab.metrics.cold_rankings import HeldOutPairs, cold_rankings
from lightning_collab.models import RatingModel
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.models.cold_rows import ColdSide, extended, fit_cold_side
from lightning_collab.models.rating_model import SIDES
from lightning_collab.training.cold_file import vocabularies_with
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.sharding.sharded_table import is_sharded

log = logging.getLogger(__name__)

# Cold items of a test part from which on it is said how they are ranked among themselves.
FEWEST = 50


def has_cold_rows(model: RatingModel) -> bool:
    """Whether a model can be given rows of ids that it never saw.

    A table that is split over ranks is whole on none of them; EASE has no rows; of Gibbs sampling
    there must be a sample.
    """
    if isinstance(model, BayesianFactors) and not int(model.kept):
        return False
    return bool(model.lookup_tables()) and not is_sharded(model)


def fitted_cold_rows(
    model: RatingModel,
    data: RatingDataModule,
    *,
    learns_ratings: bool = True,
    sides: Sequence[Side] = SIDES,
) -> dict[Side, ColdSide]:
    """What a trained model makes of all ids of which the data knows features, but no ratings.

    Args:
        model: trained on `data`.
        data: split ratings, with tables of users and items.
        learns_ratings: whether what it learned are ratings, and not choices.
        sides: for which rows are made.
    """
    train = data.columns(data.rows.train)
    training: Any = {"users": train.users, "items": train.items}
    ratings = None if model.config.ranks or not learns_ratings else train.ratings
    return {side: _cold_side(model, data, side, training, ratings) for side in sides}


def met_in_validation(data: RatingDataModule) -> list[Side]:
    """The sides of which the validation part has ids without training ratings."""
    counts = data.unknown_counts(data.rows.val)
    return [side for side, count in zip(SIDES, counts, strict=True) if count]


def _cold_side(
    model: RatingModel, data: RatingDataModule, side: Side, training: Any, ratings: Any
) -> ColdSide:
    vocabulary = data.vocabulary(side)
    table = data.described(side)
    built = data.features.users if side == "users" else data.features.items
    blocks = tuple(block.encoder for block in built if block.encoder is not None)
    if table is None:
        known = vocabulary.ids.to_frame()
        return fit_cold_side(model, side, known, training, ratings, (), blocks)
    known = lines_of(table, vocabulary.ids)
    cold = table.filter(~table.to_series(0).is_in(known.to_series(0).implode()))
    described_by = tuple(each for each in blocks if each.kind != "history")
    described_by = described_by or describing_encoders(known)
    # To a model that learned choices the regression is better (docs/results/cold_start.md).
    left_out = side == "items" and data.features.id_dropout > 0
    fitted = fit_cold_side(
        *(model, side, known, training, ratings, described_by, blocks),
        stand_in=left_out and ratings is not None,
    )
    cold = cold.unique(cold.columns[0], maintain_order=True)
    lacking = fitted.without_values(cold) if len(cold) else []
    if lacking:
        log.warning(
            "none of the %d %s without training ratings has a value of %s, which their rows are "
            "made of",
            *(len(cold), side, ", ".join(lacking)),
        )
    return fitted.with_ids(cold)


@contextmanager
def with_cold_rows(
    module: BaseModule, data: RatingDataModule, sides: Sequence[Side] = SIDES
) -> Iterator[dict[Side, ColdSide]]:
    """Meanwhile the module and the data know ids without training ratings by their features.

    What ranks is measured on the catalog that it was trained on. Of ratings on disk nothing is
    fitted beside the training.

    Args:
        module: trained on `data`.
        data: split ratings.
        sides: whose ids are measured, or kept.

    Yields:
        The rows that these ids have, by side; empty where the model can have none.
    """
    if data.mapped is not None or not has_cold_rows(module.model):
        yield {}
        return
    cold = fitted_cold_rows(module.model, data, learns_ratings=not module.ranks, sides=sides)
    if module.ranks:
        yield cold
        return
    with knowing(module, data, cold):
        yield cold


@contextmanager
def knowing(
    module: BaseModule, data: RatingDataModule, cold: Mapping[Side, ColdSide]
) -> Iterator[None]:
    """Meanwhile the module and the data know these rows."""
    vocabularies = vocabularies_with(cold, module.vocabularies)
    grown = extended(module.model, cold)
    with module.measuring(grown, vocabularies), data.numbered_by(vocabularies):
        yield


@torch.no_grad()
def cold_item_rankings(
    module: BaseModule, data: RatingDataModule, cold: Mapping[Side, ColdSide]
) -> dict[str, float]:
    """How well the cold items of the test part are ranked among all cold ones.

    Args:
        module: trained on `data`.
        data: split ratings.
        cold: of the module's model.

    Returns:
        By the names of metrics.json; empty where the test part has few cold items.
    """
    if "items" not in cold or not len(cold["items"].ids) or not len(data.rows.test):
        return {}
    trained: dict[Side, Vocabulary] = {side: data.vocabulary(side) for side in SIDES}
    if not any(each.cold for each in trained.values()):
        trained = vocabularies_with(cold, trained)
    with data.numbered_by(trained):
        test = data.columns(data.rows.test)
    cold_items = np.unique(test.items[test.items > trained["items"].warm])
    if len(cold_items) < FEWEST:
        return {}
    model = module.model if module.model.keeps_unknown_rows else extended(module.model, cold)
    model = model.cpu().eval()
    settings = checked(MetricsConfig, module.config["metrics"])
    least = settings.liked_beside(module.positives)
    liked = np.ones(len(test.ratings), dtype=bool) if least == "all" else test.ratings >= least
    scores = model.ranking_scores() if module.ranks else model.item_scores()
    found = cold_rankings(
        scores,
        HeldOutPairs(test.users, test.items, liked),
        trained["items"],
        trained["users"],
        settings.top_k[0],
    )
    return {f"test/{name}": value for name, value in found.items()}
