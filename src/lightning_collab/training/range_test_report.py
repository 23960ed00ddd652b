"""A range test as a table, as a picture and in TensorBoard."""

from io import BytesIO

from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_collab.config.lr_range_test import Suggestion
from lightning_collab.training.lr_range_test import LRRangeTest
from lightning_collab.training.run_directory import RunDirectory
from lightning_collab.training.whole_file import write_whole

COLOURS: dict[Suggestion, str] = {"steepest": "C1", "valley": "C2", "minimum": "C3"}


@rank_zero_only
def write_range_test(found: LRRangeTest, run: RunDirectory, *, chosen: Suggestion) -> None:
    """Keep lr_range_test.csv, figures/lr_range_test.png and the figure in TensorBoard.

    Args:
        found: what the test saw.
        run: where it goes.
        chosen: the suggestion to mark.
    """
    figure = range_test_figure(found, chosen)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    run.figures.mkdir(parents=True, exist_ok=True)
    write_whole(run.figures / "lr_range_test.png", picture.getvalue())
    write_whole(run.path / "lr_range_test.csv", found.frame().write_csv())
    logger = TensorBoardLogger(run.tensorboard, name="", version="", default_hp_metric=False)
    logger.experiment.add_figure("lr_range_test", figure)
    logger.finalize("success")


def range_test_figure(found: LRRangeTest, chosen: Suggestion) -> Figure:
    """Loss against learning rate, each suggestion marked.

    Args:
        found: what the test saw.
        chosen: the suggestion to mark with a full line.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="0.8", linewidth=1, label="loss of the batch")
    axes.plot(found.rates, found.smoothed, color="C0", label="smoothed")
    for rule, rate in found.suggestions.items():
        axes.axvline(
            rate,
            color=COLOURS[rule],
            linestyle="-" if rule == chosen else ":",
            label=f"{rule}: {rate:.3g}",
        )
    low, high = found.smoothed.min(), found.smoothed[0]
    axes.set_ylim(low - 0.2 * (high - low), high + 0.6 * (high - low) + 1e-9)
    axes.set(xscale="log", xlabel="learning rate (optimizer.lr)", ylabel="training loss")
    axes.legend()
    return figure
