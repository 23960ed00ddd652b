"""`conf/evaluate.yaml`."""

from lightning_collab.config.inspection import Positive, RunPath
from lightning_collab.config.section import Section


class EvaluateConfig(Section):
    """What to measure of a trained run."""

    run: RunPath
    """The run directory."""
    checkpoint: str | None
    """`best`, `last` or the path of a file; null: best, or last where there is no best."""
    ensemble: bool
    """Also the mean of the predictions of the cycles."""
    ranking: bool
    """Also how well the best of the whole catalogue are what people liked."""
    top_k: Positive
    """Items that ranking looks at for each user."""
    liked: float
    """The lowest held-out rating of an item that somebody liked."""
