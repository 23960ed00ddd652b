from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from film_runs import NEVER_RATED, QUICK, train_films
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_collab
from lightning_collab.config.optimizer import ConstantConfig, WarmRestartsConfig
from lightning_collab.inspection.embeddings import (
    most_rated,
    read_projector_config,
    side_embeddings,
)
from lightning_collab.inspection.figures import read_curves_of
from lightning_collab.inspection.neighbors import GenreOverlap
from lightning_collab.inspection.while_training import LogEmbeddings, ends_cycle


def tags(run, side="items"):
    config = read_projector_config(run.directory.tensorboard / "projector_config.pbtxt")
    names = [each.tensor_name for each in config.embeddings]
    return [name.removeprefix(f"{side}/") for name in names if name.startswith(side)]


def scalars(run, tag):
    events = EventAccumulator(str(run.directory.tensorboard)).Reload()
    return events, [(event.step, event.value) for event in events.Scalars(tag)]


def metadata(run, tag):
    path = run.directory.tensorboard / "projector" / tag / "metadata.tsv"
    return pl.read_csv(path, separator="\t", quote_char=None)


def test_a_tag_for_each_cycle_end_and_the_checkpoint(film_run):
    assert tags(film_run) == ["checkpoint_best", "epoch_001", "epoch_003", "epoch_007"]
    assert tags(film_run, "users") == tags(film_run, "items")


def test_metadata_is_of_the_rows_of_the_embeddings(film_run):
    run = lightning_collab.load(film_run.directory.path)
    found = metadata(film_run, "items/checkpoint_best")
    assert found.columns == [
        *("title", "item", "year", "genre", "genres", "ratings", "mean_rating", "known_by", "bias")
    ]
    # The film that nobody rated is marked.
    marked = found.filter(pl.col("known_by") == "features alone")
    assert marked["item"].to_list() == [NEVER_RATED]
    assert found["known_by"].n_unique() == 2
    assert found["item"].to_list() == run.items["item"].to_list()
    assert found["ratings"].to_list() == run.items["ratings"].to_list()
    assert found["genre"].to_list() == run.items["genres"].list.first().to_list()
    learned = side_embeddings(run.model, "items")
    np.testing.assert_allclose(found["bias"], learned.biases, atol=1e-4)
    tensor = film_run.directory.tensorboard / "projector/items/checkpoint_best/tensor"
    raw = np.fromfile(tensor, dtype="<f4").reshape(learned.vectors.shape)
    np.testing.assert_array_equal(raw, learned.vectors.numpy())
    people = metadata(film_run, "users/checkpoint_best")
    assert people.columns == [
        *("name", "user", "age", "occupation", "ratings", "mean_rating", "bias")
    ]
    assert people["name"][0] == f"user {run.users['user'][0]}"


def test_the_map_forms_and_is_measured_as_it_forms(film_run):
    events, overlap = scalars(film_run, "train/embeddings/genre_overlap")
    assert len(overlap) == 3
    # The made-up films differ by genre alone, so a model that has learned them groups them.
    assert overlap[-1][1] > overlap[0][1]
    run = lightning_collab.load(film_run.directory.path)
    measured = GenreOverlap(run.items).of(side_embeddings(run.model, "items").vectors)
    assert film_run.metrics["embeddings/genre_overlap"] == pytest.approx(measured.nearest)
    assert measured.ratio > 1.5
    assert film_run.directory.read_metrics() == film_run.metrics
    assert {"weights/items", "weights/items_norm", "weights/users_bias"} <= set(
        events.Tags()["histograms"]
    )
    assert {"val/calibration", "val/residuals_by_rating"} <= set(events.Tags()["images"])
    assert events.Scalars("test/rmse")[0].value == pytest.approx(film_run.metrics["test/rmse"])


def test_a_resumed_run_keeps_its_earlier_entries(run_config, tmp_path):
    quick = [*QUICK, "callbacks.report=null"]
    first = train_films(run_config(*quick, "trainer.max_epochs=3"), tmp_path / "run")
    before = tags(first)
    resumed = train_films(run_config(*quick, "trainer.max_epochs=5"), tmp_path / "run", resume=True)
    assert before == ["checkpoint_best", "epoch_001", "epoch_003"]
    assert tags(resumed) == ["checkpoint_best", "epoch_001", "epoch_003", "epoch_005"]
    assert len(scalars(resumed, "train/embeddings/genre_overlap")[1]) == 3


def test_every_n_epochs_without_users(run_config, tmp_path):
    overrides = ("callbacks.projector.every_n_epochs=2", "callbacks.projector.users=false")
    run = train_films(
        run_config(*QUICK, *overrides, "callbacks.report=null", "trainer.max_epochs=5"),
        tmp_path / "run",
    )
    assert tags(run) == ["checkpoint_best", "epoch_002", "epoch_004", "epoch_005"]
    assert tags(run, "users") == []


def test_switched_off_it_leaves_nothing(run_config, tmp_path):
    off = ("callbacks.projector=null", "callbacks.report=null", "trainer.max_epochs=1")
    run = train_films(run_config(*QUICK, *off), tmp_path / "run")
    assert not (run.directory.tensorboard / "projector").exists()
    assert not run.directory.report_file.exists()
    assert not any(key.startswith("embeddings/") for key in run.metrics)


def test_without_a_logger_there_is_a_report_but_no_projector(run_config, tmp_path):
    run = train_films(run_config(*QUICK, "logger=none", "trainer.max_epochs=1"), tmp_path / "run")
    assert not run.directory.tensorboard.exists()
    assert "No curves were logged" in run.directory.report_file.read_text()


def test_with_another_logger_the_overlap_is_logged_and_the_report_has_curves(run_config, tmp_path):
    run = train_films(run_config(*QUICK, "logger=csv", "trainer.max_epochs=2"), tmp_path / "run")
    assert not run.directory.tensorboard.exists()
    curves = read_curves_of(run.directory)
    measured = curves["embeddings/genre_overlap"].values
    assert measured[-1] == pytest.approx(run.metrics["embeddings/genre_overlap"])
    page = run.directory.report_file.read_text()
    assert "No curves were logged" not in page
    assert "Learning rate of each parameter group" in page


def test_ranks_other_than_zero_write_nothing(film_run, run_config, tmp_path):
    callback = LogEmbeddings(run_config(*QUICK))
    logger = SimpleNamespace(log_dir=str(tmp_path))
    trainer = SimpleNamespace(
        is_global_zero=False, loggers=[logger], current_epoch=0, datamodule=film_run.data
    )
    module = SimpleNamespace(model=lightning_collab.load(film_run.directory.path).model)
    callback.on_fit_start(trainer, module)
    callback.on_train_epoch_end(trainer, module)
    trainer.current_epoch = 1
    callback.on_train_end(trainer, module)
    assert list(tmp_path.iterdir()) == []


def test_the_most_rated_rows_in_the_order_of_the_table():
    known = pl.DataFrame({"ratings": [5, 1, 9, 5, 7]})
    assert most_rated(known, 3).tolist() == [0, 2, 4]
    assert most_rated(known, 99).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("cycle_len", "cycle_mult", "expected"),
    [
        (1.0, 2, [1, 3, 7, 15]),
        (2.0, 2, [2, 6, 14]),
        (2.5, 1, [3, 5, 8, 10, 13, 15]),
        (0.5, 1, list(range(1, 16))),
    ],
)
def test_epochs_in_which_a_cycle_ends(cycle_len, cycle_mult, expected):
    schedule = WarmRestartsConfig(
        name="warm_restarts", cycle_len=cycle_len, cycle_mult=cycle_mult, eta_min=0.0
    )
    assert [epoch for epoch in range(1, 16) if ends_cycle(schedule, epoch)] == expected
    assert not ends_cycle(ConstantConfig(name="constant"), 1)


def test_side_embeddings_are_a_copy_without_the_unknown_row(film_run):
    run = lightning_collab.load(film_run.directory.path)
    learned = side_embeddings(run.model, "items")
    table = run.model.lookup_tables()["embeddings"]["items"].weight
    assert torch.equal(learned.vectors, table[1:])
    learned.vectors.zero_()
    assert table[1:].any()
