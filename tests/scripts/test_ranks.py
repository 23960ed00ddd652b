"""Several ranks as a person or a cluster starts them: in fresh processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from ranks import free_port
from support import REPOSITORY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.slow

RUN = (
    "data=synthetic",
    "data.ratings=3000",
    "data.batch_size=199",
    "model.factors=4",
    "trainer.max_epochs=3",
    "training.engine=eager",
    "callbacks.report=null",
    "callbacks.projector=null",
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TRAIN = str(REPOSITORY / "scripts/train.py")


@pytest.fixture
def start(tmp_path):
    """Start a command with a log of its own; whatever is left of it is ended with the test."""
    started = []

    def run(name, *command, **variables):
        log = (tmp_path / f"{name}.log").open("wb")
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "COLUMNS": "200",
                "PYTHONPATH": os.pathsep.join(
                    [str(REPOSITORY / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
                ),
                **variables,
            },
            start_new_session=True,
        )
        process.said = lambda: Path(log.name).read_text()
        started.append(process)
        return process

    yield run
    for process in started:
        for each in all_of(process):
            each.kill()
        process.kill()
        process.wait()


def all_of(process):
    """The processes that a command has started, and that are still there."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def ended(process, code=0, within=180):
    """Wait for a process, and for all that it has started."""
    assert process.wait(within) == code, process.said()
    return process.said()


def gone(ranks, within=10):
    """None of them outlives the run."""
    _, alive = psutil.wait_procs(ranks, timeout=within)
    assert not alive


def until(process, text, within=120):
    end = time.monotonic() + within
    while text not in process.said():
        assert process.poll() is None, process.said()
        assert time.monotonic() < end, process.said()
        time.sleep(0.1)


def numbers(run):
    return json.loads((run / "metrics.json").read_text())


def same_numbers(one, other):
    first, second = numbers(one), numbers(other)
    measured = [name for name in first if name.startswith(("val/", "test/"))]
    assert measured
    for name in measured:
        assert second[name] == pytest.approx(first[name], abs=1e-6), name


def check_one_run(run, epochs=3):
    """One history, one checkpoint of each kind, one log."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [each.step for each in events.Scalars("val/rmse")] == sorted(
        {each.step for each in events.Scalars("val/rmse")}
    )
    assert len(events.Scalars("val/rmse")) == epochs
    checkpoints = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt"} <= checkpoints
    assert len(list(run.glob("*.log"))) == 1


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, TRAIN, "hydra.run.dir=alone", *RUN]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "alone"


def only_run(tmp_path):
    [run] = (tmp_path / "outputs/train").iterdir()
    return run


def test_torchrun_gives_one_run_with_the_numbers_of_one_process(start, alone, tmp_path):
    options = ("--nproc-per-node", 2, "--master-port", free_port())
    ended(start("torchrun", *TORCHRUN, *options, TRAIN, "trainer=ddp_cpu", *RUN))
    run = only_run(tmp_path)
    assert numbers(run)["ranks"] == 2
    same_numbers(alone, run)
    check_one_run(run)


def test_torchrun_of_another_number_than_the_config_has(start, alone, tmp_path):
    options = ("--nproc-per-node", 3, "--master-port", free_port())
    ended(start("torchrun", *TORCHRUN, *options, TRAIN, "trainer=ddp_cpu", *RUN))
    assert numbers(only_run(tmp_path))["ranks"] == 3
    assert "devices: 3" in (only_run(tmp_path) / "config.yaml").read_text()
    same_numbers(alone, only_run(tmp_path))


def test_two_machines_as_two_torchruns_on_local_addresses(start, alone, tmp_path):
    port = free_port()

    def node(rank):
        return start(
            f"node{rank}",
            *(*TORCHRUN, "--nnodes", 2, "--node-rank", rank, "--nproc-per-node", 1),
            *("--master-addr", "127.0.0.1", "--master-port", port),
            *("--local-addr", f"127.0.0.{rank + 1}", TRAIN, "trainer=ddp_cpu", *RUN),
        )

    second = node(1)
    first = node(0)
    ended(first)
    ended(second)
    run = only_run(tmp_path)
    assert numbers(run)["ranks"] == 2
    assert "num_nodes: 2" in (run / "config.yaml").read_text()
    same_numbers(alone, run)
    check_one_run(run)


NAMESPACES = """
set -e
ip link set lo up
unshare --net sleep 600 & other=$!
trap "kill $other" EXIT
for _ in $(seq 50); do
    [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ] && break; sleep 0.1
done
ip link add here type veth peer name there netns $other
ip address add 10.77.0.1/24 dev here
ip link set here up
in_other() { nsenter --target $other --net "$@"; }
in_other ip link set lo up
in_other ip address add 10.77.0.2/24 dev there
in_other ip link set there up
"""


def can_have_namespaces():
    if not all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip")):
        return False
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "bash", "-c", NAMESPACES],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def test_two_machines_as_two_network_namespaces(start, alone, tmp_path):
    if not can_have_namespaces():
        pytest.skip("this machine allows no network namespaces")
    options = "--nnodes 2 --nproc-per-node 1 --master-addr 10.77.0.1 --master-port 29511"
    train = f"{TRAIN} trainer=ddp_cpu {' '.join(RUN)}"
    node = f"{' '.join(TORCHRUN)} {options} --node-rank {{rank}} {train}"
    script = (
        NAMESPACES
        + f"GLOO_SOCKET_IFNAME=there in_other {node.format(rank=1)} & second=$!\n"
        + f"GLOO_SOCKET_IFNAME=here {node.format(rank=0)}\nwait $second\n"
    )
    isolated = ("unshare", "--user", "--map-root-user", "--net")
    ended(start("machines", *isolated, "bash", "-c", script))
    same_numbers(alone, only_run(tmp_path))
    check_one_run(only_run(tmp_path))


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_one_rank_ends_all_with_its_traceback(start, rank, tmp_path):
    script = Path(__file__).parent / "failing_run.py"
    command = (sys.executable, script, rank, "run", "trainer=ddp_cpu", *RUN)
    process = start("failing", *command, "trainer.max_epochs=1000", "scheduler=constant")
    until(process, "GLOBAL_RANK: 1")
    ranks = all_of(process)
    assert process.wait(60) != 0
    said = process.said()
    assert "ZeroDivisionError: a fault made for a test" in said
    if rank == 1:
        assert "rank 1 of this machine has failed (exit code 1)" in said
        assert said.index("ZeroDivisionError") < said.index("rank 1 of this machine")
    gone(ranks)


def test_a_rank_that_fails_is_named_where_the_others_wait_without_end(start, monkeypatch):
    monkeypatch.setenv("waiting", "1")
    script = Path(__file__).parent / "failing_run.py"
    process = start("waiting", sys.executable, script, 1, "run", "trainer=ddp_cpu", *RUN)
    until(process, "GLOBAL_RANK: 1")
    ranks = all_of(process)
    assert process.wait(60) == 1
    said = process.said()
    assert "ZeroDivisionError: a fault made for a test" in said
    assert "error: rank 1 of this machine has failed (exit code 1)" in said
    gone(ranks)


LONG = ("trainer.max_epochs=100000", "scheduler=constant")


@pytest.mark.parametrize("sharding", ["none", "row"])
def test_ctrl_c_ends_all_ranks_after_saving(start, sharding, tmp_path):
    command = (sys.executable, TRAIN, "hydra.run.dir=run", "trainer=ddp_cpu", *RUN, *LONG)
    options = (f"model.sharding={sharding}", "trainer.log_every_n_steps=5")
    process = start("cut", *command, *options)
    until(process, "epoch 2/")
    ranks = all_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    said = ended(process, code=1, within=30)
    assert "scripts/train.py resume=" in said
    assert "Traceback" not in said
    gone(ranks)
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert f"stopped at step {saved['steps_done']} " in said


def test_a_rank_that_dies_ends_all_and_is_named(start, tmp_path):
    command = (sys.executable, TRAIN, "hydra.run.dir=run", "trainer=ddp_cpu", *RUN, *LONG)
    process = start("dead", *command)
    until(process, "epoch 1/")
    ranks = all_of(process)
    [other] = [each for each in ranks if "hydra.job.name=train_ddp_process_1" in each.cmdline()]
    other.kill()
    said = ended(process, code=1, within=30)
    assert "error: rank 1 of this machine was killed by SIGKILL" in said
    assert "The last good checkpoint" in said
    assert "Traceback" not in said
    gone(ranks)


def test_a_torchrun_rank_that_dies_ends_all(start, tmp_path):
    options = ("--nproc-per-node", 2, "--master-port", free_port())
    process = start("dead", *TORCHRUN, *options, TRAIN, "trainer=ddp_cpu", *RUN, *LONG)
    until(process, "epoch 1/")
    ranks = all_of(process)
    [other] = [each for each in ranks if each.environ().get("LOCAL_RANK") == "1"]
    other.kill()
    assert process.wait(60) != 0
    gone(ranks)


def test_a_sweep_is_not_started_by_torchrun(start):
    options = ("--nproc-per-node", 2, "--master-port", free_port())
    command = (*TORCHRUN, *options, TRAIN, "-m", "trainer=ddp_cpu", "seed=1,2", *RUN)
    assert "it starts the ranks of each run itself" in ended(start("sweep", *command), code=1)


def test_the_example_on_ray_trains_over_a_cluster_of_two(start, alone, tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        example = REPOSITORY / "docs/examples/train_on_ray.py"
        command = (sys.executable, example, 1, "trainer=ddp_cpu", *RUN)
        ended(start("ray", *command, RAY_ADDRESS=cluster.address))
    finally:
        cluster.shutdown()
    assert numbers(only_run(tmp_path))["ranks"] == 2
    same_numbers(alone, only_run(tmp_path))
