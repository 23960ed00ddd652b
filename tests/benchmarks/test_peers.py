import sys

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.config import PeerConfig, PeersConfig
from benchmarks.peers import compared, find_packages, runner
from benchmarks.peers.runner import Fit, Ratings


def test_packages_that_are_not_there_are_said_to_be_absent_and_why(monkeypatch, tmp_path):
    nowhere = str(tmp_path / "python")
    monkeypatch.setattr(peers, "PACKAGES", dict.fromkeys(("cornac", "libmf", "dataloader")))
    named = {name: PeerConfig(python=nowhere) for name in ("cornac", "surprise", "fastai")}
    named["libmf"] = PeerConfig(python=sys.executable)  # which does not have it
    found, absent = find_packages(PeersConfig(factors=4, epochs=2, target_rmse=0.93, **named))
    assert found == {"dataloader": sys.executable}
    assert absent == {
        "peers/cornac/absent": f"{nowhere}: it does not start (No such file or directory)",
        "peers/libmf/absent": f"{sys.executable}: ModuleNotFoundError: No module named 'libmf'",
    }


def test_rounds_are_interleaved_and_ratios_taken_within_each():
    asked = []
    # The machine was ten times slower in the second round.
    clock = iter([1.0, 4.0, 10.0, 40.0, 1.0, 5.0])

    def one_round(name, epochs):
        asked.append((name, epochs))
        seconds = next(clock)
        return {
            "seconds": seconds,
            "epochs": 3 if name == "ours" else 7,
            "val_rmse": 0.92,
            "ratings_per_second": 100 / seconds,
        }

    result = compared(["ours", "cornac"], one_round, repeats=3, target=0.93)
    assert asked == [("ours", None), ("cornac", None)] + 2 * [("ours", 3), ("cornac", 7)]
    assert result["peers/cornac/seconds_over_ours"] == 4.0
    assert result["peers/cornac/ratings_per_second_below_ours"] == 4.0
    assert result["peers/ours/seconds"] == 1.0
    assert result["peers/cornac/epochs"] == 7


def test_a_target_that_is_not_reached_is_no_time():
    fit = {"seconds": 2.0, "epochs": 30, "val_rmse": 0.95, "ratings_per_second": 1.0}
    result = compared(["ours"], lambda name, epochs: fit, repeats=1, target=0.93)
    assert result["peers/ours/seconds"] == "not reached in 2 s"


def test_as_few_epochs_as_reach_the_target():
    train = val = Ratings(
        np.zeros(2, np.int32), np.zeros(2, np.int32), np.array([1, 5], np.float32)
    )
    asked = []

    def fit(epochs):
        asked.append(epochs)
        return Fit(2.0, np.array([1.0, 5.0]) + 1 / epochs)

    limits = {"rating_range": [0.0, 6.0], "target_rmse": 0.3, "epochs": 9}
    result = runner.to_target(fit, train, val, limits)
    assert asked == [1, 1, 2, 3, 4]  # the first to warm up
    assert result["epochs"] == 4
    assert result["val_rmse"] == pytest.approx(0.25)
    assert result["ratings_per_second"] == 4 * 2 / 2.0
    assert runner.to_target(fit, train, val, {**limits, "epochs_needed": 6})["epochs"] == 6


def test_predictions_are_clamped_to_the_scale():
    val = Ratings(np.zeros(2, np.int32), np.zeros(2, np.int32), np.array([1, 5], np.float32))
    limits = {"rating_range": [1.0, 5.0], "target_rmse": 0.0, "epochs": 1}
    result = runner.to_target(lambda epochs: Fit(1.0, np.array([-9.0, 9.0])), val, val, limits)
    assert result["val_rmse"] == 0.0


def test_the_lectures_modules_under_a_dataloader_learn():
    random = np.random.default_rng(0)
    users, items = random.integers(0, 20, (2, 2000)).astype(np.int32)
    bias = random.normal(size=20)
    ratings = (3 + bias[users]).clip(1, 5).astype(np.float32)
    train = Ratings(users, items, ratings)
    fit = runner.dataloader(
        train,
        train,
        {
            "factors": 4,
            "threads": 1,
            "seed": 0,
            "rating_range": [1.0, 5.0],
            "batch_size": 64,
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 0.0,
        },
    )
    errors = fit(8).predictions - ratings
    assert np.sqrt(np.square(errors).mean()) < 0.3 * ratings.std()


def test_a_short_fit_is_repeated_and_its_median_taken():
    val = Ratings(np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1, np.float32))
    clock = iter([0.9, 0.1, *[0.2] * (runner.FITS // 2 + 1), *[0.8] * (runner.FITS // 2)])
    limits = {"rating_range": [1.0, 5.0], "target_rmse": 1.0, "epochs": 1}
    result = runner.to_target(lambda epochs: Fit(next(clock), np.ones(1)), val, val, limits)
    assert result["seconds"] == 0.2
