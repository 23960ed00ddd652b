import numpy as np
import polars as pl
import pytest

from benchmarks import whole_runs
from benchmarks.command import shown
from benchmarks.config import WholeRunsConfig
from benchmarks.peers import runner
from benchmarks.peers.runner import Fit
from benchmarks.whole_runs import (
    CASES,
    MEASURES,
    Ratings,
    our_overrides,
    roofline,
    summary,
    tables,
    write_ratings,
)


@pytest.fixture
def written(tmp_path, run_config, monkeypatch):
    monkeypatch.setattr(whole_runs, "composed_run", run_config)
    return write_ratings(tmp_path / "files", "million", "synthetic", 2000, chosen_only=False)


def test_ratings_on_disk_are_numbered_without_gaps_and_held_out_ids_are_known(written):
    train, held_out = (
        pl.read_csv(written.folder / f"{part}.csv") for part in ("train", "held_out")
    )
    assert len(train) == written.training == 1600
    assert 0 < len(held_out) <= 400
    rows = 0
    for column in ("user", "item"):
        numbers = train[column].unique().sort().to_list()
        assert numbers == list(range(1, len(numbers) + 1))
        assert set(held_out[column]) <= set(numbers)
        rows += len(numbers)
    assert written.rows == rows
    assert not set(train.select("user", "item").rows()) & set(
        held_out.select("user", "item").rows()
    )


def test_every_package_reads_what_is_on_disk(written):
    for part, file in zip(runner.read_ratings(written.folder), ("train", "held_out"), strict=True):
        frame = pl.read_csv(written.folder / f"{file}.csv")
        assert np.array_equal(part.users + 1, frame["user"])
        assert np.array_equal(part.items + 1, frame["item"])
        assert np.array_equal(part.ratings, frame["rating"].to_numpy().astype(np.float32))


def test_only_what_was_liked_is_ranked(tmp_path, run_config, monkeypatch):
    monkeypatch.setattr(whole_runs, "composed_run", run_config)
    write_ratings(tmp_path / "files", "million", "synthetic", 2000, chosen_only=True)
    assert pl.read_csv(tmp_path / "files/train.csv")["rating"].min() >= 4


@pytest.mark.parametrize("name", CASES)
def test_each_way_of_each_case_is_a_config(name, tmp_path, run_config):
    case, ratings = CASES[name], Ratings(tmp_path, "million", 1000, 30, (1.0, 5.0))
    for further in ((), *case.ways.values()):
        config = run_config(*our_overrides(case, ratings, further))
        assert config.ranks == case.ranks
        assert config.data.has_ratings != case.ranks
    assert set(case.slow) <= set(case.peers)
    assert set(case.peers) <= set(runner.PACKAGES)


def test_cases_of_the_config_are_those_there_are():
    asked = WholeRunsConfig(
        million=None, twenty_million=None, large_repeats=1, cases=list(CASES)
    ).cases
    assert asked == list(CASES)


@pytest.mark.slow
def test_our_own_run_from_the_command_to_the_metrics(written):
    measured = whole_runs.our_round(CASES["sgd_50"], written, ())
    assert set(measured) == set(list(MEASURES)[:4])
    train, held_out = runner.read_ratings(written.folder)
    by_mean = float(np.sqrt(np.mean((held_out.ratings - train.ratings.mean()) ** 2)))
    assert 0.5 < measured["quality"] < by_mean
    assert measured["steady_ratings_per_second"] > 0


def test_what_a_fit_does_but_once_is_not_in_the_steady_state():
    asked = []

    def fit(epochs):
        asked.append(epochs)
        return Fit(3.0 + 0.5 * epochs, None)

    train = runner.Ratings(np.zeros(100), np.zeros(100), np.zeros(100))
    lengths = {"few_epochs": 2, "epochs": 10, "slow": False}
    result = runner.long_and_short(fit, train, train, lengths)
    assert result == {"fit_ratings_per_second": 125.0, "steady_ratings_per_second": 200.0}
    assert asked == [1, 2, 10]
    runner.long_and_short(fit, train, train, {**lengths, "slow": True})
    assert asked[3:] == [2, 10]


def test_quality_is_the_error_of_clamped_predictions_or_what_ranks():
    val = runner.Ratings(np.zeros(2), np.zeros(2), np.array([1.0, 4.0]))
    settings = {"epochs": 3, "rating_range": [1.0, 5.0]}
    predicted = runner.from_file(lambda n: Fit(1.0, np.array([-5.0, 3.0])), val, val, settings)
    assert predicted == {"quality": pytest.approx(np.sqrt(0.5))}
    ranked = runner.from_file(lambda n: Fit(1.0, lambda: 0.25), val, val, settings)
    assert ranked == {"quality": 0.25}


def test_ratios_are_taken_within_a_round_and_slow_packages_are_in_the_first_alone():
    def one(fit, steady):
        return {"fit_ratings_per_second": fit, "steady_ratings_per_second": steady}

    # The machine was ten times slower in the second round.
    rounds = {
        "ours": [one(10.0, 20.0), one(1.0, 2.0), one(10.0, 20.0)],
        "cornac": [one(5.0, 30.0), one(0.5, 3.0), one(4.0, 10.0)],
        "fastai": [one(1.0, 1.0)],
    }
    result = summary("million/case", rounds)
    assert result["million/case/cornac/fit_over_ours"] == 0.5
    assert result["million/case/cornac/steady_over_ours"] == 1.5
    assert result["million/case/fastai/steady_over_ours"] == 0.05
    assert result["million/case/ours/steady_ratings_per_second"] == 20.0


def test_the_roofline_is_that_of_copying_tables_of_this_size(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(whole_runs, "bytes_per_second", lambda size: asked.append(size) or 1e9)
    monkeypatch.setattr(whole_runs, "bytes_per_rating", lambda factors: 100)
    ratings = Ratings(tmp_path, "million", 1000, 30, (1.0, 5.0))
    ours = {"a/ours/steady_ratings_per_second": 2e6}
    assert roofline("a", CASES["sgd_50"], ratings, ours) == {
        "a/roofline/steady_ratings_per_second": 1e7,
        "a/roofline/steady_over_ours": 5.0,
    }
    # Two copies of single precision, a row with its bias.
    assert asked == [2 * 30 * 51 * 4]


def test_a_table_for_each_question_with_aims_and_what_is_absent():
    own = {name: 3e6 if "per_second" in name else 2.0 for name in list(MEASURES)[:4]}
    measured = {f"million/sgd_50/ours/{name}": value for name, value in own.items()} | {
        "million/sgd_50/cornac/steady_over_ours": 0.5,
        "million/sgd_50/libmf/absent": "no compiler",
        "twenty_million/sgd_50/ours/quality": 0.9,
    }
    text = tables(measured, shown)
    for size in ("million", "twenty_million"):
        assert text.count(f"{CASES['sgd_50'].title} (`{size}/sgd_50`):") == 1
    assert "| ours | 2 | 2 | 3 | 3 |  |  |" in text  # millions
    assert "| cornac |  |  |  |  |  | 0.5 (at most 0.83) |" in text
    assert "| libmf | absent: no compiler |" in text
