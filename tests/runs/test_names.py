"""Names that tell runs apart."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.runs.names import (
    LONGEST_LABEL,
    board_name,
    label_of,
    name_of_board,
    run_suffix,
    short_keys,
)


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ([], ""),
        (["optimizer.lr=0.01"], "lr-0.01"),
        (["optimizer.lr=1e-3", "trainer.max_epochs=2"], "lr-1e-3_max_epochs-2"),
        (["experiment=lecture_net", "+seed=7"], "lecture_net_seed-7"),
        (["model.hidden=[20,10]"], "hidden-20-10"),
        (["hydra.run.dir=a/b", "data.root=/home/me", "logger=[csv]", "resume=null"], ""),
        (["~callbacks.report"], ""),
    ],
)
def test_the_label_says_what_was_typed_and_changes_the_run(typed, label):
    assert label_of(typed) == label


@given(st.lists(st.text(max_size=30), max_size=4))
def test_no_label_has_to_be_quoted(typed):
    label = label_of([f"model.key={each}" for each in typed])
    assert len(label) <= LONGEST_LABEL
    assert shlex.quote(f"0_{label}") == f"0_{label}"
    run = f"outputs/train/2026-01-01{run_suffix('a_model', 'bpr', typed)}"
    assert OverridesParser.create().parse_override(f"run={run}").value() == run


def test_the_usual_loss_is_not_told():
    assert run_suffix("embedding_net", "squared_error") == "_embedding_net"
    assert run_suffix("embedding_net", "bpr", ["seed=3"]) == "_embedding_net_bpr_seed-3"
    assert run_suffix(None, None) == ""


NAMES = ("test/rmse", "train/loss", "val/ndcg@10", "lr-Adam/biases", "lr-SGD", "embeddings/x")


def test_scalars_are_found_again_by_their_names():
    assert [name_of_board(board_name(name)) for name in NAMES] == list(NAMES)
    assert {re.split("/", board_name(name))[0] for name in NAMES} == {"test", "train", "val"}
    # Those of an earlier version.
    assert [name_of_board(name) for name in NAMES] == list(NAMES)


def test_keys_are_called_by_as_many_last_parts_as_tell_them_apart():
    keys = [
        "optimizer.lr",
        "optimizer.weight_decay",
        "optimizer.groups.biases.weight_decay",
        "seed",
    ]
    assert list(short_keys(keys).values()) == [
        *("lr", "optimizer.weight_decay", "biases.weight_decay", "seed")
    ]
    assert short_keys(["a.b", "b"]) == {"a.b": "a.b", "b": "b"}
