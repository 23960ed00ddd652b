"""What a run has measured, beside the baselines, as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from lightning_collab.config.model import RANKING_METRICS
from lightning_collab.metrics import RANKING_BASELINES
from lightning_collab.runs.text import add_numbers, result_table

# Names in metrics.json, and how they are shown.
SHOWN_AS = {
    "ndcg": "NDCG",
    "mrr": "MRR",
    "hit_rate": "hit rate",
    "map": "MAP",
    "mean_popularity": "popularity",
    "gini": "Gini",
}


def ranking_table(metrics: Mapping[str, Any], name: str) -> Table:
    """Each metric a row; the parts of the model and the baselines side by side.

    Args:
        metrics: flat, by names such as `test/ndcg@10` and `baseline/ease/ndcg@10`.
        name: of the model, for the title.
    """
    parts = [part for part in ("val", "test") if _cuts(metrics, part)]
    title = f"{name}: rankings of the whole catalog, seen items left out"
    columns = {part: part for part in parts}
    baselines = {
        head: f"baseline/{key}"
        for key, head in RANKING_BASELINES.items()
        if _cuts(metrics, f"baseline/{key}")
    }
    if baselines:
        title += f"; baselines: {parts[-1]} part"
    columns |= baselines
    table = result_table(title)
    table.add_column("metric", no_wrap=True)
    for head in columns:
        add_numbers(table, head)
    for k in _cuts(metrics, parts[-1]) if parts else ():
        for each in RANKING_METRICS:
            found = (metrics.get(f"{prefix}/{each}@{k}") for prefix in columns.values())
            table.add_row(shown_as(f"{each}@{k}"), *(ranking_cell(each, x) for x in found))
        table.add_section()
    return table


def below_most_popular(metrics: Mapping[str, Any], loss: str) -> str | None:
    """One line that says that a model ranks no better than a list of the most popular items.

    Args:
        metrics: as of `ranking_table`.
        loss: name of the loss that the model was trained by.

    Returns:
        None where it does, or where there is nothing to compare.
    """
    part = "test" if _cuts(metrics, "test") else "val"
    for k in _cuts(metrics, part)[:1]:
        own, popular = metrics[f"{part}/ndcg@{k}"], metrics.get(f"baseline/most_popular/ndcg@{k}")
        # Where all that is to be found is new, nothing known finds any of it.
        if popular and own <= popular:
            advice = (
                "tune its settings with sweep=dot_softmax"
                if loss == "softmax"
                else "train with loss=softmax to recommend"
            )
            return (
                f"{part} NDCG@{k} {own:.4f} does not beat the most popular items ({popular:.4f}); "
                f"{advice}"
            )
    return None


def _cuts(metrics: Mapping[str, Any], prefix: str) -> list[int]:
    """The numbers of first items that are measured under a prefix, ascending."""
    start = f"{prefix}/ndcg@"
    return sorted(int(name.removeprefix(start)) for name in metrics if name.startswith(start))


def shown_as(name: str) -> str:
    """What a metric is called in tables: NDCG@10.

    Args:
        name: such as `ndcg@10`.
    """
    metric, _, k = name.partition("@")
    return f"{SHOWN_AS.get(metric, metric)}@{k}"


def ranking_cell(name: str, value: float | None) -> str:
    """A number as tables show it; empty where there is none.

    Args:
        name: of the metric, without its number of first items.
        value: of it.
    """
    if value is None:
        return ""
    if name == "coverage":
        return f"{value:.1%}"
    return f"{value:.1f}" if name == "mean_popularity" else f"{value:.4f}"


COLD_RANKINGS = {
    "cold_auc_all": "AUC against all others",
    "cold_auc_rated": "AUC against disliked ones",
}
# Of pairs of a user and an item, by what the training part had of them.
KINDS = {
    "warm": "known users and items",
    "cold": "one without ratings",
    "unknown": "an unknown one",
}


def kinds_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Kinds of pairs that errors were measured of apart; none where all are of known ones.

    Args:
        metrics: flat, by the names of metrics.json.
    """
    found = {
        kind: what
        for kind, what in KINDS.items()
        if any(f"{part}/rmse_{kind}" in metrics for part in ("val", "test"))
    }
    return found if set(found) - {"warm"} else {}


def cold_table(metrics: Mapping[str, Any]) -> Table | None:
    """How well items without training ratings are ranked among themselves; None: not measured.

    Args:
        metrics: flat, by the names of metrics.json.
    """
    shown = {
        name: COLD_RANKINGS.get(name, name.removeprefix("cold_").replace("ndcg", "NDCG"))
        for name in (key.removeprefix("test/") for key in metrics)
        if name.startswith("cold_")
    }
    if not shown:
        return None
    table = result_table("items without training ratings, ranked among themselves; test part")
    table.add_column("metric")
    add_numbers(table, "mean over users")
    for name, what in shown.items():
        table.add_row(what, f"{metrics[f'test/{name}']:.4f}")
    return table


def metrics_table(metrics: Mapping[str, Any], model: str) -> Table:
    """RMSE and MAE of the model and, where they are known, of the baselines.

    Args:
        metrics: flat, by the names of metrics.json.
        model: the name of the first row.
    """
    parts = [part for part in ("val", "test") if f"{part}/rmse" in metrics]
    table = result_table("errors in rating units; lower is better")
    table.add_column("model")
    for part in parts:
        add_numbers(table, f"{part} RMSE")
        add_numbers(table, f"{part} MAE")
    names = ("rmse", "mae")
    table.add_row(model, *(f"{metrics[f'{part}/{name}']:.4f}" for part in parts for name in names))
    for kind, what in kinds_of(metrics).items():
        keys = [f"{part}/{name}_{kind}" for part in parts for name in names]
        cells = (f"{metrics[key]:.4f}" if key in metrics else "" for key in keys)
        table.add_row(f"  {kind}: {what}", *cells)
    for row, name in (("user and item biases", "bias"), ("mean rating", "mean")):
        key = f"baseline/{name}_rmse"
        if key in metrics:
            # Of the last part, and no MAE.
            before = [""] * (2 * len(parts) - 2)
            table.add_row(row, *before, f"{metrics[key]:.4f}", "")
    return table


def further_table(metrics: Mapping[str, Any], further: Sequence[str]) -> Table:
    """Metrics beside RMSE and MAE.

    Args:
        metrics: flat, by the names of metrics.json.
        further: names.
    """
    parts = [part for part in ("val", "test") if f"{part}/rmse" in metrics]
    table = result_table()
    table.add_column("metric", no_wrap=True)
    for part in parts:
        add_numbers(table, part)
    for name in further:
        table.add_row(name, *(f"{metrics[f'{part}/{name}']:.4f}" for part in parts))
    return table


def below_biases(metrics: Mapping[str, Any]) -> str | None:
    """One line that says that a model predicts no better than biases, and what to try.

    Args:
        metrics: flat, by the names of metrics.json.

    Returns:
        None where it does, or where there is nothing to compare.
    """
    part = "test" if "test/rmse" in metrics else "val"
    own, biases = metrics.get(f"{part}/rmse"), metrics.get("baseline/bias_rmse")
    if own is None or biases is None or own < biases:
        return None
    mean = metrics.get("baseline/mean_rmse", float("inf"))
    if own >= mean:
        return (
            f"{part} RMSE {own:.4f} is worse than the mean rating for everything ({mean:.4f}); "
            "train longer (trainer.max_epochs). If ratings of your own are counts, as hours and "
            "plays are, they are weights: data.columns.rating=null data.columns.weight=<column>"
        )
    return (
        f"{part} RMSE {own:.4f} does not beat user and item biases ({biases:.4f}); try "
        "model=embedding_dot_bias as it is shipped, more epochs (trainer.max_epochs), or "
        "features=everything"
    )
