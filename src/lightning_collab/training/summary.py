"""What a person sees at the end of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(metrics: Mapping[str, Any], model: str, run: Path) -> None:
    """The numbers beside the baselines, where the run is, and how to look at its curves.

    Args:
        metrics: the content of metrics.json.
        model: its name.
        run: the run directory.
    """
    console = Console()
    console.print(metrics_table(metrics, model))
    console.print(
        f"{metrics['epochs']} epochs in {metrics['fit_seconds']:.1f} s "
        f"({metrics['train_ratings_per_second'] / 1e6:.2f} M ratings/s), "
        f"peak memory {metrics['peak_rss_bytes'] / 2**20:.0f} MiB, seed {metrics['seed']}",
        highlight=False,
    )
    for label, text in (
        ("run", str(run)),
        ("curves", f"make tensorboard   (or: tensorboard --logdir {run} --host localhost)"),
        ("again", f"scripts/evaluate.py run={run}"),
    ):
        console.print(f"{label:<8}{text}", highlight=False, soft_wrap=True, markup=False)


def metrics_table(metrics: Mapping[str, Any], model: str) -> Table:
    """RMSE and MAE of the model and, where they are known, of the baselines.

    Args:
        metrics: flat, by the names of metrics.json.
        model: the name of the first row.
    """
    parts = [part for part in ("val", "test") if f"{part}/rmse" in metrics]
    table = Table(title="errors in rating units; lower is better", title_justify="left")
    table.add_column("model")
    for part in parts:
        table.add_column(f"{part} RMSE", justify="right")
        table.add_column(f"{part} MAE", justify="right")
    names = ("rmse", "mae")
    table.add_row(model, *(f"{metrics[f'{part}/{name}']:.4f}" for part in parts for name in names))
    if any(f"{part}/rmse_cold" in metrics for part in parts):
        for kind, what in (("warm", "known users and items"), ("cold", "an unknown one")):
            keys = [f"{part}/{name}_{kind}" for part in parts for name in names]
            cells = (f"{metrics[key]:.4f}" if key in metrics else "" for key in keys)
            table.add_row(f"  {kind}: {what}", *cells)
    for row, name in (("user and item biases", "bias"), ("mean rating", "mean")):
        key = f"baseline/{name}_rmse"
        if key in metrics:
            measured = parts[-1]
            cells = (
                f"{metrics[key]:.4f}" if part == measured and name == "rmse" else ""
                for part in parts
                for name in names
            )
            table.add_row(row, *cells)
    return table
