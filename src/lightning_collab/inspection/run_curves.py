"""Which curves of a run are drawn together, on its page and in a notebook."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from matplotlib.figure import Figure

from lightning_collab.errors import InspectionError
from lightning_collab.inspection import figures
from lightning_collab.inspection.figures import Curve, picture
from lightning_collab.inspection.pages import Picture
from lightning_collab.runs.directory import RunDirectory

CURVES = {"train/loss": "training loss", "val/loss": "validation loss"}
ERRORS = {"val/rmse": "validation RMSE", "val/mae": "validation MAE"}
RANKINGS = {
    "val/ndcg@10": "validation NDCG@10",
    "val/recall@10": "validation recall@10",
    "val/coverage@10": "coverage@10",
}
OVERLAP = {
    "embeddings/genre_overlap": "10 nearest films",
    "embeddings/genre_overlap_chance": "chance",
}


class Panel(NamedTuple):
    """Curves that are drawn together.

    Attributes:
        curves: by what to call them.
        ylabel: what they are.
        caption: the same in words.
    """

    curves: Mapping[str, Curve]
    ylabel: str
    caption: str


def _panels(curves: Mapping[str, Curve]) -> Iterator[Panel]:
    losses, errors, rankings, overlap = (
        {label: curves[tag] for tag, label in names.items() if tag in curves}
        for names in (CURVES, ERRORS, RANKINGS, OVERLAP)
    )
    by_group = figures.rates(curves)
    for found, ylabel, caption in (
        (losses, "loss" if rankings else "mean squared error", _after_each_epoch(losses)),
        (rankings, "share", _after_each_epoch(rankings)),
        (errors, "error in rating units", _after_each_epoch(errors)),
        (by_group, "learning rate", "Learning rate of each parameter group"),
        (overlap, "mean Jaccard overlap", "Genres that a film shares with its neighbors"),
    ):
        if found:
            yield Panel(found, ylabel, caption)


def _after_each_epoch(names: Iterable[str]) -> str:
    caption = " and ".join(names) + " after each epoch"
    return caption[0].upper() + caption[1:]


def curve_pictures(curves: Mapping[str, Curve]) -> list[Picture]:
    """Losses, errors and learning rates of a run.

    Args:
        curves: from `read_curves`.
    """
    return [
        picture(figures.curves_figure({panel.ylabel: panel.curves}), panel.caption)
        for panel in _panels(curves)
    ]


def run_curves_figure(run: RunDirectory) -> Figure:
    """The first two side by side: losses, and errors or rankings.

    Args:
        run: its directory.

    Raises:
        InspectionError: it keeps no curves.
    """
    panels = list(_panels(figures.read_curves_of(run)))[:2]
    if not panels:
        raise InspectionError(
            f"{run.path}: no curves were logged here; logger=tensorboard and logger=csv keep them "
            "in the run"
        )
    return figures.curves_figure({panel.ylabel: panel.curves for panel in panels})
