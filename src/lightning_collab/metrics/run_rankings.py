"""Rankings of the held-out parts by a trained run, with the baselines beside them."""

from collections.abc import Sequence

from lightning_collab.config import RunConfig
from lightning_collab.config.loss import Positives
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.metrics.ranking_baselines import ranking_baselines
from lightning_collab.metrics.rankings import Scorer, rank_part


def run_rankings(
    scorer: Scorer,
    data: RatingDataModule,
    config: RunConfig,
    *,
    top_k: Sequence[int] | None = None,
    liked: Positives | None = None,
) -> dict[str, float]:
    """Rank both held-out parts, as far as they are there, and the last of them by the baselines.

    Args:
        scorer: of the run's model, on the CPU.
        data: its ratings.
        config: of the run, which says what is left open here.
        top_k: numbers of items that are looked at, ascending.
        liked: lowest rating of a held-out item that was liked; `all`: any.

    Returns:
        By the names of metrics.json: `test/ndcg@10`, `baseline/ease/ndcg@10` and so on.

    Raises:
        DataError: as `rank_part`, for one of these parts.
    """
    top_k = config.metrics.top_k if top_k is None else top_k
    liked = config.liked if liked is None else liked
    # A run on ratings has no positives: the baselines are then fitted to what is looked for.
    positives: Positives = liked if config.positives is None else config.positives
    parts = [part for part in ("val", "test") if len(getattr(data.rows, part))]
    found: dict[str, float] = {}
    for part in parts:
        found |= rank_part(
            scorer, data, part, liked=liked, top_k=top_k, positives=positives, seed=config.seed
        )
    if parts:
        found |= ranking_baselines(
            data, positives=positives, liked=liked, top_k=top_k, part=parts[-1], seed=config.seed
        )
    return found
