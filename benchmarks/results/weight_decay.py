"""What each form of weight decay does to training and validation error."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.results.measured_run import Epoch, measured_run

COMMON = ("trainer.max_epochs=15",)
STRENGTHS = {
    "gradient": ("1e-6", "1e-5", "1e-4", "3e-4", "1e-3"),
    "decoupled": ("1e-2", "1e-1", "3e-1", "1", "3"),
    "per_row": ("5e-3", "2e-2", "8e-2", "1.6e-1", "4e-1"),
}

Runs = dict[str, dict[str, list[Epoch]]]


def weight_decay_runs(runs: Path) -> Runs:
    """The epochs of each form at each strength.

    Args:
        runs: folder of the runs.
    """
    return {
        form: {
            strength: measured_run(
                runs / "weight_decay" / f"{form}-{strength}",
                *COMMON,
                f"optimizer.decay={form}",
                f"optimizer.weight_decay={strength}",
            )[1]
            for strength in strengths
        }
        for form, strengths in STRENGTHS.items()
    }


def weight_decay_figure(runs: Runs) -> Figure:
    """Training and validation error at the last epoch against the strength.

    Args:
        runs: from `weight_decay_runs`.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (form, each) in zip(figure.subplots(1, 3, sharey=True), runs.items(), strict=True):
        strengths = [float(strength) for strength in each]
        last = [epochs[-1] for epochs in each.values()]
        axes.plot(strengths, [e["train/loss"] ** 0.5 for e in last], marker="o", label="training")
        axes.plot(strengths, [e["val/rmse"] for e in last], marker="o", label="validation")
        best = [min(epoch["val/rmse"] for epoch in epochs) for epochs in each.values()]
        axes.plot(strengths, best, linestyle=":", color="C1", label="validation, best epoch")
        axes.set(xscale="log", xlabel="optimizer.weight_decay", title=f"optimizer.decay={form}")
    figure.axes[0].set_ylabel("RMSE after 15 epochs")
    figure.axes[0].legend(loc="lower right", fontsize="small")
    return figure


def weight_decay_table(runs: Runs) -> str:
    """A Markdown table of the best strength of each form."""
    lines = [
        "| form | best strength | validation RMSE, best epoch | last epoch | training RMSE, last |",
        "| --- | --- | --- | --- | --- |",
    ]
    for form, each in runs.items():
        best = {s: min(e["val/rmse"] for e in epochs) for s, epochs in each.items()}
        strength = min(best, key=lambda s: best[s])
        last = each[strength][-1]
        lines.append(
            f"| `{form}` | {strength} | {best[strength]:.4f} | {last['val/rmse']:.4f} | "
            f"{last['train/loss'] ** 0.5:.4f} |"
        )
    return "\n".join(lines)
