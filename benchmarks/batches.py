"""An epoch fed by `RatingBatches` against the same epoch fed by torch's DataLoader."""

import logging
import statistics

from benchmarks.epochs import epoch_seconds
from lightning_collab.config.compose import composed_run
from lightning_collab.training.build import load_data

BATCH_SIZES = (2048, 64)
EPOCHS = 2
# The lecture's optimizer, whose steps cost least, so that the feeding weighs most.
RUN = (
    "data=ml_100k",
    "optimizer=sgd",
    f"trainer.max_epochs={EPOCHS}",
    "training.engine=eager",
    "logger=none",
)


def run(repeats: int) -> dict[str, float]:
    """Measure both ways in turn.

    Args:
        repeats: paired runs, of which medians are taken.

    Returns:
        For each batch size the seconds of an epoch either way and the ratio
        `.../rating_batches_over_dataloader` (below 1: ours is faster).
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    result: dict[str, float] = {}
    for batch_size in BATCH_SIZES:
        config = composed_run(*RUN, f"data.batch_size={batch_size}")
        data = load_data(config)
        pairs = [
            (
                epoch_seconds(config, data, EPOCHS),
                epoch_seconds(config, data, EPOCHS, by_dataloader=True),
            )
            for _ in range(repeats)
        ]
        name = f"batches/ml_100k_batch_{batch_size}"
        ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
        result[f"{name}/rating_batches_seconds"] = ours
        result[f"{name}/dataloader_seconds"] = theirs
        result[f"{name}/rating_batches_over_dataloader"] = statistics.median(
            mine / other for mine, other in pairs
        )
    return result
