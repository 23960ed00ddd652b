import numba
import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny kernels gain nothing from a second one, and wait for it."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
