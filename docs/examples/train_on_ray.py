"""One training over the machines of a Ray cluster: a torchrun on each, which find each other.

    python docs/examples/train_on_ray.py 8 trainer=ddp data=ml_25m data.batch_size=65536

The first argument is the number of ranks on each machine, the others are those of scripts/train.py.
All machines see this checkout, the ratings and the folder of the run under the same paths.
"""

import subprocess
import sys
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

TRAIN = str(Path(__file__).resolve().parents[2] / "scripts" / "train.py")


@ray.remote
def free_port() -> int:
    """A port that is free on the first machine."""
    import socket

    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


@ray.remote
def machine(options: list[str], overrides: list[str], folder: str) -> int:
    """The ranks of one machine; their exit code."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, TRAIN, *overrides]
    return subprocess.run(command, check=False, cwd=folder).returncode


def main() -> int:
    """Start the ranks, wait for them, and end as they did."""
    ranks, overrides = sys.argv[1], sys.argv[2:]
    ray.init()  # the cluster of RAY_ADDRESS; where there is none, this machine alone
    nodes = [node for node in ray.nodes() if node["Alive"]]
    here = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    port = ray.get(free_port.options(scheduling_strategy=here[0], num_cpus=0).remote())
    meeting = ["--master-addr", nodes[0]["NodeManagerAddress"], "--master-port", str(port)]
    started = []
    for k, place in enumerate(here):
        shape = ["--nnodes", str(len(nodes)), "--node-rank", str(k), "--nproc-per-node", ranks]
        started.append(
            machine.options(scheduling_strategy=place, num_cpus=0).remote(
                [*shape, *meeting], overrides, str(Path.cwd())
            )
        )
    codes = ray.get(started)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
