"""A step and an epoch of a billion ratings on many GPUs, on paper."""

from benchmarks.cost_model import (
    RATING,
    Devices,
    StepCost,
    Training,
    exchanged_rows,
    split_tables,
    whole_tables,
)

TRAINING = Training(
    users=100_000_000, items=10_000_000, widths=(50, 1), batch_size=1 << 20, ratings=1_000_000_000
)
# H100 SXM by its data sheet: 3.35 TB/s of memory, 450 GB/s one way over NVLink within a machine of
# eight; between machines 400 Gbit/s of InfiniBand for each. Latencies are those of a hop.
MACHINES = {
    "8": Devices(ranks=8, link=450e9, latency=5e-6, memory=3.35e12),
    "256": Devices(ranks=256, link=50e9, latency=1e-5, memory=3.35e12),
}
WAYS = {
    "whole_tables": whole_tables,
    "split_tables": split_tables,
    "exchanged_rows": exchanged_rows,
}


def run(repeats: int) -> dict[str, float]:
    """The plan, which needs no such devices.

    Args:
        repeats: without meaning here.

    Returns:
        For each number of devices and each way: `.../resident_gigabytes`, `.../sent_megabytes`,
        `.../messages` and `.../milliseconds` of a step of one rank, and `.../epoch_seconds`;
        `plan/ratings_gigabytes` lie on each device beside.
    """
    result: dict[str, float] = {"plan/ratings_gigabytes": TRAINING.ratings * RATING / 1e9}
    steps = -(-TRAINING.ratings // TRAINING.batch_size)
    for name, devices in MACHINES.items():
        for way, cost_of in WAYS.items():
            cost: StepCost = cost_of(TRAINING, devices.ranks)
            where = f"plan/{name}_devices/{way}"
            result[f"{where}/resident_gigabytes"] = cost.resident_bytes / 1e9
            result[f"{where}/sent_megabytes"] = cost.sent_bytes / 1e6
            result[f"{where}/messages"] = cost.messages
            result[f"{where}/milliseconds"] = 1e3 * cost.seconds(devices)
            result[f"{where}/epoch_seconds"] = steps * cost.seconds(devices)
    return result
