import json

import numpy as np
import polars as pl
import pytest
from hydra import initialize_config_dir
from rich.console import Console
from scipy import stats
from support import CONF

from lightning_collab.config.cross_validation import (
    chosen_folds,
    cross_validation_config,
    experiments,
    folds_of,
)
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError
from lightning_collab.training.cross_validation import (
    USER_ERRORS,
    comparison_tables,
    fold_table,
    folder_name,
    paired_comparison,
    plan,
    run_fold,
    summarised,
)
from lightning_collab.tuning.sweep import register_resolvers

QUICK = ("trainer.max_epochs=1", "logger=none", "callbacks.progress_bar=false", "split=k_fold")


@pytest.fixture
def quick(run_config):
    return lambda *overrides: run_config(*QUICK, *overrides)


def test_paired_tests_are_those_of_scipy():
    random = np.random.default_rng(0)
    one, other = random.normal(size=12), random.normal(0.3, size=12)
    found = paired_comparison(one, other, test_over_train=0.25)
    assert found["mean_difference"] == pytest.approx(np.mean(one) - np.mean(other))
    assert found["t_p"] == pytest.approx(stats.ttest_rel(one, other).pvalue)
    assert found["wilcoxon_p"] == pytest.approx(stats.wilcoxon(one, other).pvalue)
    # Nadeau and Bengio (2003): the variance of the mean is 1/n + test/train times the spread's.
    d = one - other
    t = d.mean() / np.sqrt((1 / 12 + 0.25) * d.var(ddof=1))
    assert found["corrected_t_p"] == pytest.approx(2 * stats.t.sf(abs(t), 11))
    assert found["corrected_t_p"] > found["t_p"]


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0]])
def test_without_any_difference_there_is_no_p(values):
    found = paired_comparison(values, values, test_over_train=0.25)
    assert (found["t_p"], found["wilcoxon_p"], found["corrected_t_p"]) == (None, None, None)
    assert found["mean_difference"] == 0


def test_each_repeat_has_seeds_of_its_own_and_experiments_share_them(quick, tmp_path):
    named = {"a": quick("split.folds=3"), "b": quick("split.folds=3", "model.factors=5")}
    runs = plan(named, [1, 2, 3], 2, tmp_path)
    assert len({run.run.path for run in runs}) == len(runs) == 12
    seeds = {(r.repeat, r.fold): (r.config.seed, r.config.split.seed) for r in runs}
    assert seeds[1, 1] == (42, 42)
    assert seeds[2, 3] == (43, 43)
    for run in runs:
        assert run.config.split.fold == run.fold
        assert (run.config.seed, run.config.split.seed) == seeds[run.repeat, run.fold]
        assert run.config.model == named[run.experiment].model


def test_folders_of_different_experiments_differ():
    names = ["a", "model.factors=5", "model.factors=5 seed=1", "model.factors=5_seed=1", "x" * 80]
    assert len({folder_name(name) for name in names}) == len(names)
    assert not any(set("/=,' ") & set(folder_name(name)) for name in names)
    assert all(len(folder_name(name)) < 80 for name in names)


def test_folds_add_up(quick, small_table, tmp_path):
    named = {"plain": quick("split.folds=2"), "linear": quick("model.output=linear")}
    named["linear"] = named["linear"].model_copy(update={"split": named["plain"].split})
    runs = plan(named, [1, 2], 1, tmp_path)
    for run in runs:
        assert not run.done
        run_fold(run, small_table)
        assert run.done
    summary = summarised(runs)

    rmse = [run.run.read_metrics()["test/rmse"] for run in runs if run.experiment == "plain"]
    assert summary["experiments"]["plain"]["test/rmse"] == {
        "values": rmse,
        "mean": pytest.approx(np.mean(rmse)),
        "std": pytest.approx(np.std(rmse, ddof=1)),
    }
    # The errors of the users are those of the test metric, taken apart.
    tested = 0
    for run, expected in zip([r for r in runs if r.experiment == "plain"], rmse, strict=True):
        frame = pl.read_parquet(run.run.path / USER_ERRORS)
        tested += frame["ratings"].sum()
        assert np.sqrt(frame["squared_error"].sum() / frame["ratings"].sum()) == pytest.approx(
            expected, rel=1e-6
        )
        assert set(frame["user"]) <= set(small_table.user_vocabulary.ids)
    assert tested == len(small_table)

    (pair,) = summary["comparisons"]
    other = [run.run.read_metrics()["test/rmse"] for run in runs if run.experiment == "linear"]
    assert pair["folds/test/rmse"]["mean_difference"] == pytest.approx(
        np.mean(rmse) - np.mean(other)
    )
    assert pair["users/test/rmse"]["pairs"] == 30
    # A run with another config in the same place is not the one that is asked for.
    changed = plan({"plain": quick("split.folds=2", "seed=7")}, [1, 2], 1, tmp_path)
    assert not any(run.done for run in changed)


def test_a_split_without_folds_is_refused(run_config, quick):
    with pytest.raises(ConfigError, match=r"split=random has no folds; set split=k_fold"):
        folds_of(run_config())
    with pytest.raises(
        ConfigError,
        match=r"split=cold_users has folds only with split\.folds, " r"such as split\.folds=5",
    ):
        folds_of(run_config("split=cold_users"))
    assert folds_of(quick("split.folds=4")) == [1, 2, 3, 4]
    assert folds_of(run_config("split=official_fold")) == ["u1", "u2", "u3", "u4", "u5"]


def test_own_keys_are_checked():
    good = {"compare": None, "repeats": 1, "folds": [1, 3]}
    assert chosen_folds(cross_validation_config(good), [1, 2, 3]) == [1, 3]
    with pytest.raises(ConfigError, match=r"folds=3: the folds are 1, 2"):
        chosen_folds(cross_validation_config(good), [1, 2])
    with pytest.raises(ConfigError, match=r"repeats: .*greater than or equal to 1"):
        cross_validation_config({**good, "repeats": 0})
    with pytest.raises(ConfigError, match=r"compare: "):
        cross_validation_config({**good, "compare": ["one"]})


@pytest.mark.slow
def test_the_script_compares_and_goes_on_where_it_stood(run_script, tmp_path):
    command = (
        "data=synthetic",
        "data.ratings=2000",
        "split.folds=2",
        "compare=[embedding_dot_bias,embedding_net]",
        *QUICK[:3],
        "hydra.run.dir=cv",
    )
    part = run_script("cross_validate.py", *command, "folds=1")
    assert part.returncode == 0, part.stderr
    assert "2 of 4 trainings are still to do" in part.stdout
    assert not (tmp_path / "cv" / "cross_validation.json").exists()
    whole = run_script("cross_validate.py", *command)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("done before") == 2
    summary = json.loads((tmp_path / "cv" / "cross_validation.json").read_text())
    assert list(summary["experiments"]) == ["embedding_dot_bias", "embedding_net"]
    assert len(summary["experiments"]["embedding_net"]["test/rmse"]["values"]) == 2
    assert f"{summary['experiments']['embedding_net']['test/rmse']['mean']:.4f}" in whole.stdout


def test_what_is_compared_is_an_experiment_a_model_or_overrides():
    register_resolvers()
    own = {"repeats": 1, "folds": None}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        names = ["embedding_net", "model.factors=7 optimizer=sgd"]
        config = cross_validation_config({**own, "compare": names})
        found = experiments(config, ["data.batch_size=64", "repeats=1"], {})
        assert list(found) == names
        assert [each.model.name for each in found.values()] == [
            "embedding_net",
            "embedding_dot_bias",
        ]
        assert found[names[1]].model.factors == 7
        assert {each.split.name for each in found.values()} == {"k_fold"}
        assert {each.data.batch_size for each in found.values()} == {64}
        wrong = cross_validation_config({**own, "compare": ["embedding_net", "embeding_net"]})
        with pytest.raises(ConfigError, match="'embeding_net' is neither an experiment"):
            experiments(wrong, [], {})
        twice = cross_validation_config({**own, "compare": ["embedding_net", "embedding_net"]})
        with pytest.raises(ConfigError, match="names an experiment twice"):
            experiments(twice, [], {})


RANKS = ("loss=softmax", "data=synthetic", "data.ratings=3000", "model.factors=4")


def test_folds_of_runs_that_rank_are_summed_up_by_rankings(quick, tmp_path):
    named = {
        "narrow": quick("split.folds=2", *RANKS),
        "ease": quick("split.folds=2", *RANKS[1:3], "model=ease"),
    }
    runs = plan(named, [1, 2], 1, tmp_path)
    table = load_ratings(named["narrow"].data)
    for run in runs:
        run_fold(run, table)
        assert run.done
    summary = summarised(runs)
    for key in ("test/ndcg@10", "test/hit_rate@20", "baseline/most_popular/ndcg@10"):
        values = [run.run.read_metrics()[key] for run in runs if run.experiment == "narrow"]
        found = summary["experiments"]["narrow"][key]
        assert found["values"] == values
        assert found["mean"] == pytest.approx(np.mean(values))
    (pair,) = summary["comparisons"]
    both = [summary["experiments"][name]["test/ndcg@10"]["mean"] for name in ("narrow", "ease")]
    assert pair["folds/test/ndcg@10"]["mean_difference"] == pytest.approx(both[0] - both[1])
    console = Console(width=120, record=True)
    console.print(fold_table(summary), *comparison_tables(summary))
    said = console.export_text()
    assert "higher is better" in said
    assert "above 0: the first is better" in said
    assert "RMSE" not in said


def test_cold_items_are_cross_validated_with_their_rows(quick, film_run, tmp_path):
    config = quick("data=synthetic", "split=cold_items", "split.folds=3", "model.factors=4")
    assert folds_of(config) == [1, 2, 3]
    (run, *_) = plan({"cold": config}, [1, 2, 3], 1, tmp_path)
    run_fold(run, film_run.data.table)
    errors = pl.read_parquet(run.run.path / USER_ERRORS)
    rmse = np.sqrt(errors["squared_error"].sum() / errors["ratings"].sum())
    assert rmse == pytest.approx(run.run.read_metrics()["test/rmse_cold"], abs=1e-5)
