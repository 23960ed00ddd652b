"""A grid: one directory a job, a summary, and the same command again."""

import csv
import json

import pytest

SMALL = (
    "data=synthetic",
    "data.ratings=1000",
    "trainer.max_epochs=1",
    "logger=none",
    "callbacks.progress_bar=false",
)


@pytest.mark.slow
def test_failures_are_reported_and_the_same_command_runs_only_what_is_missing(run_script, tmp_path):
    command = ("-m", *SMALL, "model.factors=2,3", "split.val=0.2,0.0001")
    first = run_script("train.py", *command)
    assert first.returncode == 1
    assert "error: 2 of 4 jobs failed" in first.stderr
    [sweep] = (tmp_path / "outputs" / "sweeps").iterdir()
    rows = list(csv.DictReader((sweep / "sweep.csv").open()))
    done = [row for row in rows if row["status"] == "done"]
    failed = [row for row in rows if row["status"] == "failed"]
    assert [len(done), len(failed)] == [2, 2]
    # The best first, those without a number last.
    assert rows[:2] == done
    assert float(done[0]["val/rmse"]) <= float(done[1]["val/rmse"])
    for row in failed:
        assert row["split.val"] == "0.0001"
        assert "no rating at all" in row["error"]
        assert f"failed: {row['directory']} (" in first.stdout
        assert (sweep / row["directory"] / "job.json").is_file()
    listed = json.loads((sweep / "sweep.json").read_text())["jobs"]
    assert [each["directory"] for each in listed] == [row["directory"] for row in rows]
    times = {
        row["directory"]: (sweep / row["directory"] / "metrics.json").stat().st_mtime_ns
        for row in done
    }
    # As if a third job had been killed in its midst.
    killed = done[0]["directory"]
    job = json.loads((sweep / killed / "job.json").read_text())
    (sweep / killed / "job.json").write_text(json.dumps(job | {"status": "running"}))

    again = run_script("train.py", *command, "hydra.sweeper.fail_fast=true")
    assert "4 jobs in" in again.stderr
    assert "1 of them done already" in again.stderr
    rows = {row["directory"]: row for row in csv.DictReader((sweep / "sweep.csv").open())}
    # Two failing jobs to run again and one killed: the first failure ends it.
    assert sorted(row["status"] for row in rows.values()) in (
        ["done", "done", "failed", "not run"],
        ["done", "failed", "not run", "not run"],
    )
    kept = done[1]["directory"]
    assert (sweep / kept / "metrics.json").stat().st_mtime_ns == times[kept]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (("model.factors=2,-1",), "model.factors: input should be greater"),
        (("model.facters=2,3",), "model.facters"),
        (("optimizer.lr=interval(0.1,0.2)",), "an interval has no end of values"),
        (("optimizer=torch", "optimizer.class_name=RMSprop,RMSprob"), "did you mean 'RMSprop'"),
    ],
)
def test_a_bad_grid_is_refused_before_the_first_job(sweep, message, composer, monkeypatch):
    from lightning_collab.errors import ConfigError
    from lightning_collab.tuning import grid
    from lightning_collab.tuning.sweep import Sweep

    made = composer(*sweep)
    context = type("Context", (), {"config_loader": made.config_loader})()
    monkeypatch.setattr(grid, "_launch", lambda *_: pytest.fail("a job was started"))
    with pytest.raises(ConfigError, match=message):
        grid.run_grid(Sweep(context, None, made.master), list(sweep))
