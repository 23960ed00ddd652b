"""One experiment on each of several folds, and what they say: is a difference more than luck?"""

import hashlib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from rich.table import Table
from scipy import stats

from lightning_collab.config import RunConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import CheckpointError, ConfigError, TrainingError
from lightning_collab.metrics import RANKING_BASELINES
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.text import add_numbers, result_table
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.cold_rows import with_cold_rows
from lightning_collab.training.evaluation import clamped_predictions
from lightning_collab.training.run import train

log = logging.getLogger(__name__)

USER_ERRORS = "user_errors.parquet"


@dataclass(frozen=True)
class FoldRun:
    """One training of a cross-validation.

    Attributes:
        experiment: its name.
        repeat: counted from 1.
        fold: which.
        config: of the run: its fold, and the seeds of its repeat.
        run: where it goes.
    """

    experiment: str
    repeat: int
    fold: int | str
    config: RunConfig
    run: RunDirectory

    @property
    def done(self) -> bool:
        """Whether the same training has been finished there."""
        of_users = self.config.ranks or (self.run.path / USER_ERRORS).is_file()
        if not of_users or not self.run.metrics_file.is_file():
            return False
        try:
            return self.run.read_config() == self.config.as_kept()
        except (CheckpointError, ConfigError):
            return False


def plan(
    experiments: dict[str, RunConfig], folds: list[int | str], repeats: int, directory: Path
) -> list[FoldRun]:
    """All trainings, fold by fold, each fold with every experiment.

    A repeat shifts the seed of the split (of the val part where the test part is official) and the
    seed of the training by its number; all experiments have the same folds and seeds.

    Args:
        experiments: config of each, by name.
        folds: which.
        repeats: times that they are gone through.
        directory: where everything goes.
    """
    return [
        FoldRun(
            experiment=name,
            repeat=repeat,
            fold=fold,
            config=_of_fold(config, fold, repeat - 1),
            run=RunDirectory(directory / folder_name(name) / f"repeat-{repeat}" / f"fold-{fold}"),
        )
        for repeat in range(1, repeats + 1)
        for fold in folds
        for name, config in experiments.items()
    ]


def folder_name(experiment: str) -> str:
    """A folder's name for an experiment that may be named by its overrides."""
    plain = re.sub(r"[^\w.-]+", "_", experiment, flags=re.ASCII)
    if plain == experiment and len(plain) <= 60:
        return plain
    return f"{plain[:50]}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"


def _of_fold(config: RunConfig, fold: int | str, shift: int) -> RunConfig:
    split = config.split.model_copy(update={"fold": fold, "seed": config.split.seed + shift})
    return config.model_copy(update={"split": split, "seed": config.seed + shift})


def run_fold(fold: FoldRun, table: RatingTable) -> None:
    """Train and test on one fold; leaves a run directory and, of ratings, each user's errors.

    Args:
        fold: which.
        table: the ratings that its config asks for.
    """
    config = fold.config
    data = load_data(config, table)
    fold.run.path.mkdir(parents=True, exist_ok=True)
    train(config, fold.run, data=data)
    if config.ranks:
        return
    # The learning rate may have been found only then.
    trained = fold.run.read_config()
    checkpoint = fold.run.best_checkpoint if trained.monitor else fold.run.last_checkpoint
    module = build_module(trained, data)
    module.load_trained(read_checkpoint(checkpoint), checkpoint)
    with with_cold_rows(module, data):
        predicted = clamped_predictions(module, data, data.rows.test)
    errors = (predicted - data.columns(data.rows.test).ratings).astype(np.float64)
    users = table.users[data.rows.test]
    rows = np.flatnonzero(np.bincount(users))
    frame = pl.DataFrame(
        {
            "user": table.user_vocabulary.decode(rows),
            "ratings": np.bincount(users)[rows],
            "squared_error": np.bincount(users, np.square(errors))[rows],
        }
    )
    temporary = fold.run.path / f".{USER_ERRORS}"
    frame.write_parquet(temporary)
    temporary.replace(fold.run.path / USER_ERRORS)


# Of rankings, in the tables; all are in the file.
RANKINGS = ("NDCG", "recall")


def summarised(runs: Sequence[FoldRun]) -> dict[str, Any]:
    """Mean and standard deviation over the folds, and each pair of experiments compared.

    Args:
        runs: all trainings, each of them done.

    Returns:
        `folds`, `experiments` (metric -> values, mean, std) and `comparisons`, as plain values.

    Raises:
        TrainingError: a fold without a test part.
    """
    names = list(dict.fromkeys(run.experiment for run in runs))
    by_name = {name: [run for run in runs if run.experiment == name] for name in names}
    metrics = {name: [run.run.read_metrics() for run in by_name[name]] for name in names}
    for each in metrics.values():
        if any(len(shown_metrics(fold)) < 2 for fold in each):
            raise TrainingError("a fold of this split has no test part to measure")
    return {
        "folds": [{"repeat": run.repeat, "fold": run.fold} for run in by_name[names[0]]],
        "experiments": {
            name: {
                key: spread_of([fold[key] for fold in metrics[name]])
                for key in _shared_keys(metrics[name])
            }
            for name in names
        },
        "comparisons": [
            _compared(one, other, by_name, metrics) for one, other in combinations(names, 2)
        ],
    }


def shown_metrics(metrics: Collection[str]) -> dict[str, str]:
    """What folds are compared by: the metrics, and how they are called.

    Args:
        metrics: names, of a fold.
    """
    if "test/rmse" in metrics:
        return {"test/rmse": "RMSE", "test/mae": "MAE"}
    cuts = sorted(int(key.split("@")[1]) for key in metrics if key.startswith("test/ndcg@"))
    return {f"test/{name.lower()}@{k}": f"{name}@{k}" for k in cuts[:1] for name in RANKINGS}


def _shared_keys(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics that every fold has: a fold without cold rows has no cold error."""
    prefixes = ("test/", "val/", "baseline/")
    wanted = [key for key in folds[0] if key.startswith(prefixes) or key == "fit_seconds"]
    return [key for key in wanted if all(key in fold for fold in folds)]


def _compared(
    one: str,
    other: str,
    runs: Mapping[str, Sequence[FoldRun]],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    share = [fold["test_ratings"] / fold["train_ratings"] for fold in metrics[one]]
    found: dict[str, Any] = {
        "one": one,
        "other": other,
        **{
            f"folds/{key}": paired_comparison(
                [fold[key] for fold in metrics[one]],
                [fold[key] for fold in metrics[other]],
                test_over_train=sum(share) / len(share),
            )
            for key in shown_metrics(metrics[one][0])
        },
    }
    if "folds/test/rmse" not in found:
        return found
    users = _user_rmse(runs[one]).join(_user_rmse(runs[other]), on="user", suffix="_other")
    return {
        **found,
        "users/test/rmse": paired_comparison(users["rmse"], users["rmse_other"]),
        "users_better_with_one": int((users["rmse"] < users["rmse_other"]).sum()),
    }


def _user_rmse(runs: Sequence[FoldRun]) -> pl.DataFrame:
    """RMSE of each user over the test ratings of all folds."""
    folds = pl.concat([pl.read_parquet(run.run.path / USER_ERRORS) for run in runs])
    sums = folds.group_by("user").agg(pl.col("ratings").sum(), pl.col("squared_error").sum())
    return sums.select("user", rmse=(pl.col("squared_error") / pl.col("ratings")).sqrt())


def fold_table(summary: Mapping[str, Any]) -> Table:
    """Test metrics of each fold and over all of them, beside baselines where these rank."""
    shown = _shown_of(summary)
    title = "test errors in rating units; lower is better"
    if "test/rmse" not in shown:
        title = "rankings of the whole catalog, test part; higher is better"
    table = result_table(title)
    table.add_column("repeat / fold")
    keys = []
    for name in summary["experiments"]:
        for number, (key, what) in enumerate(shown.items()):
            add_numbers(table, f"{'' if number else name}\n{what}")
            keys.append((name, key))
    first = next(iter(summary["experiments"]))
    for key, what in _baselines_of(summary, shown).items():
        add_numbers(table, what)
        keys.append((first, key))
    for row, fold in enumerate(summary["folds"]):
        values = [summary["experiments"][name][key]["values"][row] for name, key in keys]
        table.add_row(f"{fold['repeat']} / {fold['fold']}", *(f"{each:.4f}" for each in values))
    table.add_section()
    for label in ("mean", "std"):
        values = [summary["experiments"][name][key][label] for name, key in keys]
        table.add_row(label, *("" if each is None else f"{each:.4f}" for each in values))
    return table


def _shown_of(summary: Mapping[str, Any]) -> dict[str, str]:
    return shown_metrics(next(iter(summary["experiments"].values())))


def _baselines_of(summary: Mapping[str, Any], shown: Mapping[str, str]) -> dict[str, str]:
    """Of baselines that rank, the first metric; all experiments have the same ones."""
    measured = next(iter(summary["experiments"].values()))
    key = next(iter(shown)).removeprefix("test/")
    return {
        f"baseline/{name}/{key}": head.replace(" ", "\n", 1)
        for name, head in RANKING_BASELINES.items()
        if f"baseline/{name}/{key}" in measured
    }


def comparison_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Paired differences and tests, one table for each pair of experiments."""
    tables = []
    for pair in summary["comparisons"]:
        shown = _shown_of(summary)
        side = "below" if "test/rmse" in shown else "above"
        title = f"{pair['one']} - {pair['other']} ({side} 0: the first is better)"
        table = result_table(title)
        for column in ("paired", "mean", "Wilcoxon p", "t p", "corrected t p"):
            if column == "paired":
                table.add_column(column)
            else:
                add_numbers(table, column)
        rows = {f"folds/{key}": f"{what} of folds" for key, what in shown.items()}
        rows["users/test/rmse"] = "RMSE of users"
        for key, over in rows.items():
            if key not in pair:
                continue
            found = pair[key]
            tests = [found.get(name) for name in ("wilcoxon_p", "t_p", "corrected_t_p")]
            cells = ["" if p is None else f"{p:.2g}" for p in tests]
            table.add_row(f"{found['pairs']} {over}", f"{found['mean_difference']:+.4f}", *cells)
        tables.append(table)
    return tables


def paired_comparison(
    one: ArrayLike, other: ArrayLike, *, test_over_train: float | None = None
) -> dict[str, Any]:
    """Mean difference of paired values, and two-sided tests of its being zero.

    Args:
        one: float [n].
        other: float [n], in the same order.
        test_over_train: size of a fold's test part over that of its training part. With it, the
            t-test is corrected for folds whose training parts overlap (Nadeau and Bengio 2003,
            "Inference for the generalization error", section 3): the variance of the mean is
            (1/n + test/train) times that of the differences, not 1/n.

    Returns:
        `pairs`, `mean_difference` (one - other), `t_p`, `wilcoxon_p` and, where it applies,
        `corrected_t_p`; a p is None where it cannot be had (a single pair, no difference at all).
    """
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    count = len(differences)
    result: dict[str, Any] = {
        "pairs": count,
        "mean_difference": float(differences.mean()),
        "t_p": None,
        "wilcoxon_p": None,
    }
    spread = float(differences.std(ddof=1)) if count > 1 else 0.0
    if np.any(differences) and count > 1:
        result["wilcoxon_p"] = float(stats.wilcoxon(differences).pvalue)
    if spread > 0:
        result["t_p"] = float(stats.ttest_1samp(differences, 0).pvalue)
    if test_over_train is not None:
        result["corrected_t_p"] = None
        if spread > 0:
            t = differences.mean() / (spread * np.sqrt(1 / count + test_over_train))
            result["corrected_t_p"] = float(2 * stats.t.sf(abs(t), count - 1))
    return result


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """The values with their mean and standard deviation (None for a single one).

    Args:
        values: of each fold.
    """
    return {
        "values": list(values),
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }
