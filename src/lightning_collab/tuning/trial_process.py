"""`python -m lightning_collab.tuning.trial_process <directory>`: a trial with several ranks.

Started by the worker that has the trial, and by Lightning once more for each further rank.
"""

import json
import os
import sys
from pathlib import Path

import optuna

from lightning_collab.config import validated
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.tuning import trial_run
from lightning_collab.tuning.settings import load_study
from lightning_collab.tuning.storage import StorageURL, trial_id_of


def main() -> None:
    """Run the trial whose request is in the directory of the first argument."""
    directory = Path(sys.argv[1])
    request = trial_run.Request(**json.loads((directory / trial_run.REQUEST_FILE).read_text()))
    config = validated(request.config)
    # Lightning sets this in the ranks that it starts, not in the first.
    first = is_first_rank()
    callback = trial_run.PruneTrial(
        _report(request) if first else None,
        request.objective,
        config.trainer.max_epochs,
        parent=request.parent if first else os.getppid(),
    )
    outcome = trial_run.run_in_process(config, directory, callback, data=None)
    if first:
        trial_run.write_outcome(outcome, directory)


def _report(request: trial_run.Request) -> trial_run.Report | None:
    if request.objective is None:
        return None
    storage = StorageURL(os.environ[trial_run.STORAGE_VARIABLE]).open()
    study = load_study(storage, request.study_name, request.pruner)
    trial_id = trial_id_of(storage, request.study_name, request.number)
    return trial_run.report_to(optuna.Trial(study, trial_id))


if __name__ == "__main__":
    main()
