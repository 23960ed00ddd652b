"""Commands of random config: each trains a batch or is refused in words of ours."""

import subprocess
import sys

import pytest
from support import REPOSITORY


@pytest.mark.slow
def test_a_hundred_random_configs_train_or_are_refused():
    """More of them: `python tests/support/random_commands.py 1000 --seed 2`."""
    words = [sys.executable, "tests/support/random_commands.py", "100", "--seed", "1"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1].split()
    accepted, trained = int(said[0]), int(said[4])
    assert said[-3:] == ["0", "ended", "wrongly"], done.stdout
    # Refusing all would be easy.
    assert accepted == 100
    assert trained > 70
