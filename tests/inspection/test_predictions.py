import numpy as np
import pytest

import lightning_collab
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.predictions import Predictions, predict_part


def of(actual, predicted, user_ratings=None, item_ratings=None):
    count = len(actual)
    return Predictions(
        "val",
        np.array(actual, dtype=np.float32),
        np.array(predicted, dtype=np.float32),
        np.array(user_ratings or [1] * count),
        np.array(item_ratings or [1] * count),
    )


def test_predictions_give_the_rmse_of_the_run(film_run):
    run = lightning_collab.load(film_run.directory.path)
    predictions = predict_part(run, film_run.data)
    assert predictions.part == "val"
    rmse = np.sqrt(np.square(predictions.errors).mean())
    assert rmse == pytest.approx(film_run.metrics["val/rmse"], abs=1e-5)
    for side in ("user", "item"):
        table = predictions.by_ratings_of(side)
        assert table["rows"].sum() == len(film_run.data.rows.val)
        pooled = np.sqrt((table["rmse"] ** 2 * table["rows"]).sum() / table["rows"].sum())
        assert pooled == pytest.approx(rmse)


def test_ratings_of_other_data_are_refused(film_run, small_table, run_config):
    from lightning_collab.training.build import load_data

    run = lightning_collab.load(film_run.directory.path)
    config = run_config()
    other = load_data(config, small_table)
    with pytest.raises(InspectionError, match="not those that the run was trained on"):
        predict_part(run, other)


def test_errors_by_number_of_ratings():
    table = of([3, 3, 3, 3], [3, 4, 5, 1], user_ratings=[0, 4, 5, 9]).by_ratings_of("user")
    assert table["training ratings"].to_list() == ["none", "1 to 4", "5 to 9"]
    assert table["rows"].to_list() == [1, 1, 2]
    np.testing.assert_allclose(table["rmse"], [0, 1, 2])
    np.testing.assert_allclose(table["mae"], [0, 1, 2])


def test_the_last_class_is_open():
    table = of([3], [3], item_ratings=[80_000]).by_ratings_of("item")
    assert table["training ratings"].to_list() == ["5,000 or more"]


def test_calibration_compares_means_of_like_predictions():
    table = of([1, 3, 4, 4], [2, 2.2, 4, 4.4]).calibration(bins=2)
    np.testing.assert_allclose(table["predicted"], [2.1, 4.2], atol=1e-6)
    np.testing.assert_allclose(table["actual"], [2, 4])
    np.testing.assert_allclose(table["standard error"], [1, 0])
    assert table["rows"].to_list() == [2, 2]


def test_a_calibrated_model_lies_on_the_diagonal():
    random = np.random.default_rng(0)
    predicted = random.uniform(1, 5, size=20_000)
    table = of(predicted + random.normal(size=20_000), predicted).calibration()
    off = (table["actual"] - table["predicted"]).abs() / table["standard error"]
    assert off.max() < 4
    assert set(table["rows"]) == {1000}


def test_residuals_by_rating():
    table = of([1, 1, 5], [2, 4, 4]).by_rating()
    assert table["rating"].to_list() == [1, 5]
    np.testing.assert_allclose(table["mean residual"], [2, -1])
    np.testing.assert_allclose(table["rmse"], [np.sqrt(5), 1])


def test_coverage_counts_ratings_within_the_intervals():
    predictions = Predictions(
        "test",
        np.array([3, 3, 3, 3], dtype=np.float32),
        np.array([3.5, 2, 1, 4.5], dtype=np.float32),
        np.ones(4, np.int64),
        np.ones(4, np.int64),
        np.array([1, 1, 1, 2], dtype=np.float32),
    )
    # Distances 0.5, 1, 2, 1.5 against 0.67, 1.28 and 1.96 deviations of 1, 1, 1 and 2.
    table = predictions.coverage()
    assert table["interval"].to_list() == ["50%", "80%", "95%"]
    assert table["actual"].to_list() == [0.25, 0.75, 0.75]
    assert table["mean width"][2] == pytest.approx(2 * 1.96 * 1.25, rel=1e-3)
    assert of([3], [3]).coverage().is_empty()
