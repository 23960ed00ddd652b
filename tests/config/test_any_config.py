"""Whatever is chosen from the groups runs or is refused; whatever is broken is named."""

import copy

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from support import CONF, composed

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError, LightningCollabError
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.trainer import build_bare_trainer

QUIET = ("trainer.limit_train_batches=1", "logger=none")
GROUPS = ("averaging", "features", "model", "optimizer", "scheduler", "callbacks")
KEYS = {
    "data.batch_size": ["1", "7", "64", "full"],
    "training.engine": ["auto", "eager", "fused"],
    "training.row_updates": ["dense", "lazy"],
    "training.sgd_threads": ["1", "2"],
    "trainer.precision": ["32-true", "64-true"],
    "trainer.max_epochs": ["1", "3"],
    "trainer.gradient_clip_val": ["null", "0.5"],
    "optimizer.decay": ["gradient", "decoupled", "per_row"],
    "optimizer.weight_decay": ["0", "0.1"],
    "optimizer.groups.embeddings.lr_scale": ["0", "0.5"],
    "optimizer.groups.biases.weight_decay": ["0.2"],
    "optimizer.groups.hidden.lr_scale": ["2"],
    "split.val": ["0", "0.2"],
    "seed": ["0", "4294967295"],
}


def options(group):
    return st.sampled_from(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


CHOICES = st.tuples(
    st.fixed_dictionaries({}, optional={group: options(group) for group in GROUPS}),
    st.dictionaries(st.sampled_from(sorted(KEYS)), st.integers(0, 3), max_size=5),
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(chosen=CHOICES)
def test_any_choice_trains_on_a_batch_or_is_refused(chosen, small_table):
    groups, keys = chosen
    typed = [f"{group}={option}" for group, option in groups.items()]
    if groups.get("optimizer") == "torch":
        typed.append("optimizer.class_name=RMSprop")
    typed += [f"{key}={KEYS[key][place % len(KEYS[key])]}" for key, place in keys.items()]
    plain = composed(*QUIET, *typed)
    try:
        config = validated(plain)
        data = load_data(config, small_table)
        module = build_module(config, data)
        trainer = build_bare_trainer(config, [], max_steps=1)
    except LightningCollabError as error:
        event(f"refused: {type(error).__name__}")
        return
    event(f"trained: {config.model.name}")
    trainer.fit(module, datamodule=data)
    assert module.global_step >= 1
    assert all(value.isfinite().all() for value in module.model.state_dict().values())


WHOLE = composed()


def leaves(node, path=()):
    """Paths to all values that are no sections."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


PATHS = sorted(leaves(WHOLE))


def broken(path, change):
    config = copy.deepcopy(WHOLE)
    section = config
    for key in path[:-1]:
        section = section[key]
    change(section, path[-1])
    return config


@settings(max_examples=150)
@given(path=st.sampled_from(PATHS), letters=st.text("abcdefgh_", min_size=1, max_size=9))
def test_a_key_that_is_not_known_is_named(path, letters):
    assume(path[0] != "features" or len(path) < 2)
    wrong = f"{path[-1]}{letters}"

    def rename(section, key):
        section[wrong] = section.pop(key)

    with pytest.raises(ConfigError, match=wrong):
        validated(broken(path, rename))


@settings(max_examples=150)
@given(
    path=st.sampled_from(PATHS),
    value=st.one_of(
        st.just({"a": {"b": 1}}), st.just([[]]), st.just(float("nan")), st.binary(max_size=3)
    ),
)
def test_a_value_of_a_wrong_kind_is_named(path, value):
    assume(path[0] != "features")

    def replace(section, key):
        section[key] = value

    with pytest.raises(ConfigError, match=path[-1]):
        validated(broken(path, replace))
