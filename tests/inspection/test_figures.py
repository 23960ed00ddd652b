import numpy as np
from torch.utils.tensorboard import SummaryWriter

from lightning_collab.inspection.figures import Curve, rates, read_curves, read_curves_of
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.csv_curves import CSVCurves


def test_curves_are_read_in_the_order_of_steps_from_all_files(tmp_path):
    for steps, value in (((1, 2, 3), 1.0), ((3, 4), 2.0)):
        with SummaryWriter(str(tmp_path)) as writer:
            for step in steps:
                writer.add_scalar("train/loss", value, step)
    curve = read_curves(tmp_path)["train/loss"]
    assert curve.steps.tolist() == [1, 2, 3, 4]
    assert curve.values.tolist()[0] == 1.0
    assert curve.values.tolist()[2:] == [2.0, 2.0]


def test_no_event_files_are_no_curves(tmp_path):
    assert read_curves(tmp_path) == {}
    assert read_curves(tmp_path / "missing") == {}


def test_the_table_is_read_where_there_are_no_event_files(tmp_path):
    run = RunDirectory(tmp_path)
    assert read_curves_of(run) == {}
    logger = CSVCurves(run)
    for step, value in ((1, 2.0), (3, 1.0), (3, 0.5)):
        logger.log_metrics({"train/loss": value, "epoch": 0}, step)
    logger.log_metrics({"val/rmse": 0.9}, 3)
    logger.save()
    curves = read_curves_of(run)
    assert set(curves) == {"train/loss", "val/rmse"}
    assert curves["train/loss"].steps.tolist() == [1, 3]
    assert curves["train/loss"].values.tolist() == [2.0, 0.5]
    with SummaryWriter(str(run.tensorboard)) as writer:
        writer.add_scalar("train/loss", 7.0, 9)
    assert read_curves_of(run)["train/loss"].steps.tolist() == [9]


def test_a_run_has_a_rate_for_each_group(film_run):
    curves = read_curves(film_run.directory.tensorboard)
    assert set(rates(curves)) == {"embeddings", "biases"}
    assert len(curves["val/rmse"].steps) == 7
    # All groups of tags that the pages of TensorBoard sort by.
    assert {tag.split("/")[0] for tag in curves} >= {"train", "val", "test", "embeddings"}


def test_rates_are_named_by_their_group():
    curve = Curve(np.array([1]), np.array([0.1]))
    found = rates({"lr-Adam/biases": curve, "lr-SGD": curve, "train/loss": curve})
    assert list(found) == ["biases", "SGD"]
