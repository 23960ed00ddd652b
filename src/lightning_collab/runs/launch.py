"""What a cluster's launcher says of the ranks that it has started: how many, and which is this.

Nothing here imports torch at the top, since the commands ask before they know their job.
"""

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning_collab.errors import ConfigError

# What a process that is to have ranks of its own must not inherit from its own rank.
VARIABLES = (
    "LOCAL_RANK",
    "NODE_RANK",
    "RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_NTASKS",
)

# How long a rank waits for rank zero to name the run directory.
WAIT = timedelta(minutes=5)


@dataclass(frozen=True)
class Launch:
    """A launcher other than Lightning itself, which had started all ranks before the program ran.

    Attributes:
        launcher: its name, for messages.
        rank: of this process, over all machines.
        devices: ranks on each machine.
        num_nodes: machines.
    """

    launcher: str
    rank: int
    devices: int
    num_nodes: int

    @property
    def ranks(self) -> int:
        """Ranks on all machines."""
        return self.devices * self.num_nodes


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Who started this rank; None where nobody did, or Lightning will.

    Torchrun comes first, since it is used inside SLURM too, and then each task is one torchrun.

    Args:
        environment: variables of the process.

    Raises:
        ConfigError: the machines have different numbers of ranks.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return Launch(
            "torchrun",
            int(environment["RANK"]),
            *_per_machine(int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])),
        )
    by_srun = "SLURM_NTASKS" in environment and "SLURM_PROCID" in environment
    if by_srun and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes, ranks = int(environment.get("SLURM_NNODES", "1")), int(environment["SLURM_NTASKS"])
        each = int(environment.get("SLURM_NTASKS_PER_NODE", str(-(-ranks // nodes))))
        return Launch("srun", int(environment["SLURM_PROCID"]), *_per_machine(ranks, each))
    return None


def is_first_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process speaks and writes for all ranks, as far as its environment says.

    Args:
        environment: variables of the process.
    """
    launch = launched(environment)
    if launch is not None:
        return launch.rank == 0
    return all(int(environment.get(name, "0")) == 0 for name in ("NODE_RANK", "LOCAL_RANK", "RANK"))


def with_launched_ranks(
    config: dict[str, Any], launch: Launch | None, typed: Iterable[str]
) -> dict[str, Any]:
    """A run's config with the number of ranks that there are.

    Args:
        config: plain, as composed.
        launch: who started the ranks.
        typed: the overrides as they were typed; those that disagree with the launcher are refused.

    Raises:
        ConfigError: the config wants other ranks than have been started.
    """
    trainer = config.get("trainer")
    if not isinstance(trainer, dict):
        return config
    if launch is None:
        _check_named_directory(trainer, typed)
        return config
    if trainer.get("strategy") != "ddp":
        if launch.ranks == 1:
            return config
        raise ConfigError(
            f"{launch.launcher} has started {launch.ranks} ranks, but "
            f"trainer={trainer.get('name')} is a single process; set trainer=ddp_cpu or trainer=ddp"
        )
    words = [word.lstrip("+") for word in typed]
    there = {"devices": launch.devices, "num_nodes": launch.num_nodes}
    for key, value in there.items():
        wanted = trainer.get(key)
        is_typed = any(word.startswith(f"trainer.{key}=") for word in words)
        if is_typed and wanted not in (value, "auto"):
            what = "ranks on each machine" if key == "devices" else "machines"
            raise ConfigError(
                f"trainer.{key}={wanted}, but {launch.launcher} has started {value} {what}; omit "
                "the key, or start as many"
            )
    return {**config, "trainer": {**trainer, **there}}


def _check_named_directory(trainer: Mapping[str, Any], typed: Iterable[str]) -> None:
    """Machines that nobody has brought together cannot agree on a directory."""
    nodes = trainer.get("num_nodes", 1)
    if nodes != 1 and not any(word.startswith(("hydra.run.dir=", "resume=")) for word in typed):
        raise ConfigError(
            f"trainer.num_nodes={nodes}: the machines need one run directory; start them with "
            "torchrun or srun, which agree on one, or set hydra.run.dir=<a folder that all see>"
        )


def run_directory_of_all(fresh: str) -> str:
    """The same new run directory for all ranks, each of which has a clock of its own.

    Args:
        fresh: what this rank would take.

    Raises:
        ConfigError: the ranks have no way to agree; the directory must be typed.
    """
    launch = launched()
    if launch is None or launch.ranks == 1:
        return fresh
    if launch.launcher == "srun":
        job, step = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_STEP_ID", "0")
        again = os.environ.get("SLURM_RESTART_COUNT", "0")
        parts = [f"slurm-{job}", *(f"{n}" for n in (step, again) if n != "0")]
        return str(Path(fresh).parent / "-".join(parts))
    return _told_by_torchrun(fresh, launch.rank)


@functools.cache
def _told_by_torchrun(fresh: str, rank: int) -> str:
    """Rank zero's directory, through the store that torchrun keeps for its ranks."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ConfigError(
            "torchrun keeps no store for its ranks with this rendezvous backend: set "
            "hydra.run.dir=<a folder that all machines see>"
        )
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=WAIT
        )
        key = f"lightning_collab/run_directory/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        if rank == 0:
            store.set(key, fresh)
        return str(store.get(key).decode())
    except DistError as error:
        raise ConfigError(
            f"torchrun's ranks cannot reach {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} to agree on a run directory: {error}"
        ) from error


def _per_machine(ranks: int, each: int) -> tuple[int, int]:
    if ranks % each:
        raise ConfigError(
            f"{ranks} ranks cannot be the same number on each machine, since this one has "
            f"{each}; start as many on each"
        )
    return each, ranks // each
