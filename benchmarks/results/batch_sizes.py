"""Full-batch, mini-batch and single-sample descent at equal passes over the ratings."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.results.measured_run import Epoch, measured_run

PASSES = 2
# Descent with momentum for all, each at a rate that suits it: a single sample needs a smaller step
# than the mean of many.
REGIMES = {
    "full batch": ("data.batch_size=full", "optimizer.lr=30"),
    "batches of 64": ("data.batch_size=64", "optimizer.lr=0.1"),
    "single samples": ("data.batch_size=1", "optimizer.lr=0.003"),
}
COMMON = ("optimizer=sgd", "scheduler=constant", f"trainer.max_epochs={PASSES}")


def batch_size_runs(runs: Path) -> dict[str, list[Epoch]]:
    """The epochs of each regime.

    Args:
        runs: folder of the runs.
    """
    return {
        name: measured_run(runs / "batch_sizes" / name.replace(" ", "_"), *COMMON, *overrides)[1]
        for name, overrides in REGIMES.items()
    }


def batch_size_figure(epochs: dict[str, list[Epoch]]) -> Figure:
    """Validation loss against passes and against seconds.

    Args:
        epochs: from `batch_size_runs`.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    passes, seconds = figure.subplots(1, 2, sharey=True)
    for name, each in epochs.items():
        losses = [epoch["val/loss"] for epoch in each]
        passes.plot(range(1, len(each) + 1), losses, marker="o", label=name)
        seconds.plot([epoch["seconds"] for epoch in each], losses, marker="o", label=name)
    passes.set(xlabel="passes over the ratings", ylabel="validation loss")
    passes.xaxis.get_major_locator().set_params(integer=True)
    seconds.set(xlabel="seconds of training", xscale="log")
    passes.legend()
    return figure


def batch_size_table(epochs: dict[str, list[Epoch]]) -> str:
    """A Markdown table of the last pass."""
    lines = [
        "| regime | steps a pass | validation loss after 2 passes | seconds | command |",
        "| --- | --- | --- | --- | --- |",
    ]
    steps = {"full batch": 1, "batches of 64": 1250, "single samples": 80_000}
    for name, each in epochs.items():
        command = " ".join(["scripts/train.py", *COMMON, *REGIMES[name]])
        lines.append(
            f"| {name} | {steps[name]:,} | {each[-1]['val/loss']:.4f} | "
            f"{each[-1]['seconds']:.1f} | `{command}` |"
        )
    return "\n".join(lines)
