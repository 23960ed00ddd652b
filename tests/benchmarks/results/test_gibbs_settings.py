"""The table of the sampler's settings: rows that can be run, one key a time."""

import pytest
from support import composed

from benchmarks.results.gibbs_settings import COMMON, SETTINGS, markdown
from lightning_collab.config import validated


def value(config, key):
    for part in key.split("."):
        config = config[part]
    return str(config).lower()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.title)
def test_what_is_taken_is_what_the_experiment_has_and_the_others_differ(setting):
    taken = composed(*COMMON)
    key = setting.key.partition("=")[0]
    assert value(taken, key) == setting.taken
    assert setting.taken not in setting.others
    for _, typed in setting.overrides():
        changed = composed(*COMMON, typed)
        assert changed != taken
        assert validated(changed).split.has_val


def test_the_table_by_hand():
    typed = [typed for setting in SETTINGS for _, typed in setting.overrides()]
    found = {"": [0.86, 0.88], **{each: [0.9, 0.9] for each in typed}}
    lines = markdown(found).splitlines()
    assert lines[0] == "With what the experiment has: 0.8700 ± 0.0141."
    assert lines[4] == (
        "| length of embeddings, `model.factors` | 16 | 8: 0.9000 ± 0.0000; 32: 0.9000 ± 0.0000 |"
    )
    assert len(lines) == 4 + len(SETTINGS)
    assert lines[-1].endswith("left out: 0.9000 ± 0.0000 |")
