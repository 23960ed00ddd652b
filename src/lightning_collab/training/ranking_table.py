"""Rankings by a model beside those by the baselines, as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from lightning_collab.config.metrics import RANKING_METRICS
from lightning_collab.runs.text import add_numbers, result_table

# Names in metrics.json, and heads of columns.
BASELINES = {"most_popular": "most popular", "item_knn": "item-kNN", "ease": "EASE"}
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
        for key, head in BASELINES.items()
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
