import pytest
import torch

from benchmarks.bare_loop import BareLoop
from benchmarks.gpu import NO_GPU, RATINGS, SGD, run
from lightning_collab.training.build import load_data


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_each_measure_is_skipped_by_name():
    found = run(1)
    assert set(found.values()) == {NO_GPU}
    assert {"gpu/batch_512", "gpu/network", "gpu/softmax", "gpu/two_devices"} <= set(found)


def test_the_bare_loop_learns_wherever_its_tables_are(run_config):
    config = run_config(
        *RATINGS, *SGD, "data.ratings=3000", "data.batch_size=64", "model=embedding_dot_bias"
    )
    loop = BareLoop.of(config, load_data(config)).on("cpu")
    errors = [loop.epoch()[1] for _ in range(4)]
    assert errors[-1] < errors[0]
