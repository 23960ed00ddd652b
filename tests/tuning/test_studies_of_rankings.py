"""Studies and grids of runs that rank: by the metric that they are monitored by, upwards."""

import csv
import json

import pytest
import yaml
from optuna import load_study
from optuna.trial import TrialState
from support import REPOSITORY

from lightning_collab.tuning.storage import StorageURL

SMALL = (
    "data=csv",
    f"data.path={REPOSITORY}/docs/examples/clicks.csv",
    "data.columns.rating=null",
    "trainer.max_epochs=8",
    "model.factors=8",
    "hydra.sweep.dir=sweep",
)
# Two that learn, and one whose weights are held at nothing, which the pruner is to see.
FIRST = {
    "dot_softmax": "{optimizer.lr:0.03},{optimizer.lr:0.05},{optimizer.lr:0.01,"
    "optimizer.weight_decay:0.5}",
    "dot_bpr": "{optimizer.lr:0.03},{optimizer.lr:0.05},{optimizer.lr:0.002,"
    "optimizer.weight_decay:0.5}",
}


@pytest.mark.slow
@pytest.mark.parametrize("sweep", FIRST)
def test_the_shipped_spaces_end_with_a_winner_that_is_trained_again(sweep, run_script, tmp_path):
    done = run_script(
        "train.py",
        f"sweep={sweep}",
        *SMALL,
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=2",
        "hydra.sweeper.n_trials=4",
        f"hydra.sweeper.first_trials=[{FIRST[sweep]}]",
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "sweep"
    about = yaml.safe_load((folder / "study.yaml").read_text())
    assert (about["objectives"], about["directions"]) == (["val/ndcg@10"], ["maximize"])
    study = load_study(study_name="sweep", storage=StorageURL.parse(None, folder).open())
    complete = [t.value for t in study.get_trials() if t.state == TrialState.COMPLETE]
    assert study.best_value == max(complete)
    winner = json.loads((folder / "winner" / "metrics.json").read_text())
    assert winner["val/ndcg@10"] == pytest.approx(study.best_value, abs=2e-3)
    assert f"test ndcg@10 {winner['test/ndcg@10']:.4f}" in done.stdout
    page = (folder / "report.html").read_text()
    assert "maximize val/ndcg@10" in page
    assert "test/ndcg@10" in page


def test_a_grid_is_sorted_by_what_is_monitored(run_script, tmp_path):
    done = run_script(
        "train.py", "-m", "loss=softmax", *SMALL, "optimizer.lr=1e-5,0.03", "callbacks.report=null"
    )
    assert done.returncode == 0, done.stderr
    assert "sorted by val/ndcg@10" in done.stdout
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = [float(row["val/ndcg@10"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert rows[0]["optimizer.lr"] == "0.03"
