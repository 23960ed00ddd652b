"""What a study leaves for people: numbers of pruning, a table, a page that is safe to open."""

import csv
import io
import re

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from lightning_collab.errors import ConfigError
from lightning_collab.tuning.report import write_study_report
from lightning_collab.tuning.study_identity import write_study_file
from lightning_collab.tuning.trials import Attribute, PruningSaved, as_csv, trial_rows


def trial(state, curve=(), value=None, **attributes):
    return create_trial(
        state=state,
        value=value,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=dict(enumerate(curve, 1)),
        user_attrs={Attribute.MAX_EPOCHS: 10, **attributes},
    )


TRIALS = [
    trial(TrialState.COMPLETE, [0.9] * 10, 0.9, **{Attribute.SECONDS: 20.0}),
    trial(TrialState.PRUNED, [1.0, 0.95], **{Attribute.SECONDS: 4.0}),
    trial(TrialState.PRUNED, [1.0, 0.95, 0.97, 0.99], **{Attribute.SECONDS: 12.0}),
    trial(
        TrialState.FAIL,
        [1.0],
        **{Attribute.ERROR: "<script>alert(1)</script>", Attribute.SECONDS: 1.0},
    ),
    trial(TrialState.FAIL, [1.0], **{Attribute.INTERRUPTED: True, Attribute.RETRIED_BY: 5}),
    trial(TrialState.COMPLETE, [0.8] * 10, 0.8, **{Attribute.SECONDS: 22.0}),
]


def test_what_pruning_saved_by_hand():
    saved = PruningSaved.of(TRIALS)
    assert (saved.trials, saved.pruned) == (4, 2)
    assert (saved.epochs, saved.epochs_whole) == (10 + 2 + 4 + 10, 40)
    assert saved.share_of_epochs == pytest.approx(14 / 40)
    assert saved.seconds == 58
    # Eight epochs of two seconds, and six of three.
    assert saved.seconds_saved == pytest.approx(8 * 2 + 6 * 3)


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0.95), ("maximize", 1.0)])
def test_the_table_has_a_row_for_each_trial(direction, best):
    study = optuna.create_study(direction=direction)
    for each in TRIALS:
        study.add_trial(each)
    rows = trial_rows(study.get_trials(), ["val/rmse"], [direction])
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    states = ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "INTERRUPTED", "COMPLETE"]
    assert [row["state"] for row in read] == states
    assert [row["val/rmse"] for row in read] == ["0.9", "", "", "", "", "0.8"]
    assert float(read[1]["best_epoch_value"]) == best
    assert read[4]["retried_by"] == "5"
    assert read[2]["epochs"] == "4"


def test_no_text_of_the_table_is_a_formula():
    rows = [{"error": "=HYPERLINK(1)", "value": -0.5, "name": "a=b"}, {"error": "@x"}]
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["error"] for row in read] == ["'=HYPERLINK(1)", "'@x"]
    assert (read[0]["value"], read[0]["name"]) == ("-0.5", "a=b")


def study_in(folder, trials):
    storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    study = optuna.create_study(study_name="</title><b>name", storage=storage)
    for each in trials:
        study.add_trial(each)
    write_study_file(
        folder,
        {
            "study_name": "</title><b>name",
            "storage": "study.log",
            "objectives": ["val/rmse"],
            "directions": ["minimize"],
            "overrides": ["seed=<1>"],
            "params": {"x": "interval(0,1)"},
            "hook": None,
            "sampler": {},
            "pruner": {},
            "seed": 42,
        },
    )


def test_the_page_escapes_what_it_shows_and_loads_nothing(tmp_path):
    study_in(tmp_path, TRIALS)
    page = write_study_report(tmp_path).read_text()
    assert "<script" not in page
    assert "<b>name" not in page
    assert "&lt;script&gt;" in page
    assert "35% of the epochs not trained" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


@pytest.mark.parametrize("trials", [TRIALS[:1], TRIALS[3:4], []])
def test_a_study_with_hardly_any_trial_has_a_page(trials, tmp_path):
    study_in(tmp_path, trials)
    assert "Pictures need at least two completed trials" in write_study_report(tmp_path).read_text()


def test_where_no_study_ran_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no study ran here"):
        write_study_report(tmp_path)


def test_the_page_warns_of_importances_of_few_trials(tmp_path):
    study_in(tmp_path, TRIALS)
    page = write_study_report(tmp_path).read_text()
    assert '<p class="warning">2 trials: too few to trust importances</p>' in page
