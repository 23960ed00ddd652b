"""Whether a chain fits into memory, asked before it starts."""

import psutil

from lightning_collab.data.features import FeatureSet
from lightning_collab.errors import TrainingError
from lightning_collab.models.bayesian_factors import SAMPLED, BayesianFactors

GIBIBYTE = 1 << 30


def check_memory(model: BayesianFactors, features: FeatureSet) -> None:
    """Refuse what cannot fit: samples, or blocks of features whose links are drawn jointly.

    Args:
        model: that keeps the samples.
        features: of its users and items.

    Raises:
        TrainingError: more is needed than is free; the message names the key to change.
    """
    free = psutil.virtual_memory().available
    samples = sum(getattr(model, name).numel() * 4 for name in SAMPLED)
    if samples > free:
        raise TrainingError(
            f"model.samples={model.config.samples} samples of this model take "
            f"{samples / GIBIBYTE:.1f} GiB, and {free / GIBIBYTE:.1f} GiB are free: keep fewer"
        )
    blocks = {
        f"features.{side}.{block.name}": block.matrix.shape
        for side, each in (("users", features.users), ("items", features.items))
        for block in each
    }
    for name, (rows, columns) in blocks.items():
        smaller = min(rows, columns)
        if smaller > model.config.joint_links:
            continue
        # The Gram matrix, its eigenvectors, the work space of the solver, and the basis.
        needed = 8 * (4 * smaller**2 + rows * smaller)
        if needed > free - samples:
            raise TrainingError(
                f"{name}: to draw its link of {rows:,} x {columns:,} jointly takes "
                f"{needed / GIBIBYTE:.1f} GiB, and {(free - samples) / GIBIBYTE:.1f} GiB are free: "
                f"set model.joint_links below {smaller}, and it is drawn feature by feature"
            )
