"""Who started this rank, from the environment that a launcher sets."""

import re

import pytest
from pytorch_lightning.plugins.environments import SLURMEnvironment
from support import REPOSITORY, composed

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError
from lightning_collab.runs.launch import (
    Launch,
    is_first_rank,
    launched,
    run_directory_of_all,
    with_launched_ranks,
)

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
}
# What srun sets in task 5 of `sbatch --nodes=2 --ntasks-per-node=4`.
SLURM = {
    "SLURM_JOB_ID": "184223",
    "SLURM_JOB_NAME": "train",
    "SLURM_STEP_ID": "0",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NODELIST": "gpu[07-08]",
}


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of a launcher, and no others."""
    for name in (*TORCHRUN, *SLURM, "NODE_RANK", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)

    def set_all(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_nobody_has_started_a_process_of_its_own():
    assert launched({}) is None
    assert is_first_rank({})


def test_ranks_that_lightning_starts_are_not_launched_but_know_their_place():
    assert launched({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}) is None
    assert not is_first_rank({"LOCAL_RANK": "1", "NODE_RANK": "0"})
    assert not is_first_rank({"NODE_RANK": "1"})
    assert is_first_rank({"LOCAL_RANK": "0", "NODE_RANK": "0"})


def test_torchrun_is_understood():
    assert launched(TORCHRUN) == Launch("torchrun", rank=3, devices=2, num_nodes=2)
    assert not is_first_rank(TORCHRUN)
    assert is_first_rank({**TORCHRUN, "RANK": "0"})


def test_slurm_is_understood_as_lightning_understands_it(environment):
    environment(SLURM)
    launch = launched()
    assert launch == Launch("srun", rank=5, devices=4, num_nodes=2)
    assert SLURMEnvironment.detect()
    theirs = SLURMEnvironment()
    assert (theirs.global_rank(), theirs.world_size()) == (launch.rank, launch.ranks)
    assert theirs.main_address == "gpu07"
    assert theirs.main_port == 15000 + 4223
    theirs.validate_settings(num_devices=launch.devices, num_nodes=launch.num_nodes)


def test_the_script_for_slurm_asks_for_what_is_understood():
    script = (REPOSITORY / "docs/examples/train.sbatch").read_text()
    settings = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script, re.MULTILINE))
    nodes, each = int(settings["nodes"]), int(settings["ntasks-per-node"])
    assert settings["gpus-per-node"] == str(each), "a rank for each GPU"
    variables = {
        **SLURM,
        "SLURM_JOB_NAME": settings["job-name"],
        "SLURM_NNODES": str(nodes),
        "SLURM_NTASKS": str(nodes * each),
        "SLURM_NTASKS_PER_NODE": str(each),
    }
    launch = launched(variables)
    assert (launch.devices, launch.num_nodes) == (each, nodes)
    overrides = re.search(r"scripts/train\.py (.*) \"\$@\"", script)[1].split()
    taken = with_launched_ranks(composed(*overrides), launch, overrides)
    assert validated(taken).trainer.ranks == nodes * each


def test_an_interactive_allocation_starts_nothing():
    assert launched({**SLURM, "SLURM_JOB_NAME": "interactive"}) is None


def test_torchrun_inside_slurm_is_torchrun():
    assert launched({**SLURM, **TORCHRUN}).launcher == "torchrun"


def test_machines_with_different_numbers_of_ranks_are_refused():
    with pytest.raises(ConfigError, match="same number on each machine"):
        launched({**TORCHRUN, "WORLD_SIZE": "5"})


def trainer(name="ddp_cpu", strategy="ddp", devices=2, num_nodes=1):
    settings = {"name": name, "strategy": strategy, "devices": devices, "num_nodes": num_nodes}
    return {"trainer": settings}


def test_the_launcher_says_how_many_devices_there_are():
    launch = launched(TORCHRUN)
    taken = with_launched_ranks(trainer(devices=7), launch, ["trainer=ddp_cpu"])
    assert (taken["trainer"]["devices"], taken["trainer"]["num_nodes"]) == (2, 2)
    assert with_launched_ranks(trainer(), None, []) == trainer()


@pytest.mark.parametrize(
    ("settings", "typed", "message"),
    [
        (trainer(devices=3), ["trainer.devices=3"], r"devices=3, but torchrun has started 2"),
        (
            trainer(num_nodes=4),
            ["+trainer.num_nodes=4"],
            r"num_nodes=4, but torchrun .* 2 machines",
        ),
        (trainer("cpu", "auto", 1), [], r"4 ranks, but trainer=cpu is a single process"),
    ],
    ids=["devices", "machines", "one process"],
)
def test_a_config_for_other_ranks_is_refused(settings, typed, message):
    with pytest.raises(ConfigError, match=message):
        with_launched_ranks(settings, launched(TORCHRUN), typed)


def test_machines_that_nobody_has_brought_together_need_a_directory():
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir"):
        with_launched_ranks(trainer(num_nodes=2), None, ["trainer.num_nodes=2"])
    with_launched_ranks(trainer(num_nodes=2), None, ["hydra.run.dir=/shared/run"])


def test_one_run_directory_for_a_slurm_job_and_another_when_it_is_requeued(environment):
    environment(SLURM)
    assert run_directory_of_all("outputs/train/2026-01-01") == "outputs/train/slurm-184223"
    environment({"SLURM_PROCID": "0", "SLURM_RESTART_COUNT": "1"})
    assert run_directory_of_all("outputs/train/2026-01-02") == "outputs/train/slurm-184223-1"


def test_a_process_of_its_own_takes_the_directory_of_its_clock(environment):
    environment({})
    assert run_directory_of_all("outputs/train/2026-01-01") == "outputs/train/2026-01-01"


def test_without_a_store_of_torchrun_the_directory_must_be_typed(environment):
    environment({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "False"})
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir"):
        run_directory_of_all("outputs/train/2026-01-01")
