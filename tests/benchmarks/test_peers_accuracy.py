"""Other packages on our protocols: chosen by a validation part, measured as ours are."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from support import REPOSITORY, composed

from benchmarks.peers import accuracy, environments
from benchmarks.peers.accuracy import Measured, Measurement, Scores, markdown
from benchmarks.peers.environments import environment_of
from benchmarks.peers.methods import PROTOCOLS, Method, Protocol
from benchmarks.results.accuracy import SECTIONS
from lightning_collab.config import validated
from lightning_collab.metrics.rankings import rank_part
from lightning_collab.training.build import build_module, load_data

# Predicts what its settings say, or scores all items by their numbers, and says what it was given.
RUNNER = """
import json, sys
import numpy as np
method, rows, settings, output = sys.argv[1:]
asked = json.load(open(settings))
with np.load(rows) as file:
    given = {key: file[key].tolist() for key in file}
json.dump({"method": method, "asked": asked, "given": given}, open(asked["told"], "w"))
if "users" in given:
    np.savez(output, scores=np.tile(np.arange(given["sizes"][1], 0.0, -1), (given["sizes"][0], 1)))
else:
    np.savez(output, predictions=np.full(len(given["test_users"]), asked["constant"]))
"""


@pytest.fixture
def measured(tmp_path, monkeypatch, run_config, small_table):
    """Measure one method of a made-up package by a protocol."""
    runner = tmp_path / "runner.py"
    runner.write_text(RUNNER)
    told = tmp_path / "told.json"
    monkeypatch.setitem(environments.REQUIREMENTS, "made", ("made==1.0",))
    monkeypatch.setattr(
        accuracy, "environment_of", lambda package: environments.Environment(sys.executable)
    )
    monkeypatch.setattr(
        accuracy,
        "_data",
        lambda protocol, seed: load_data(run_config(*protocol.typed), small_table),
    )

    def run(typed, searched, liked=None):
        method = Method("Made", "made", str(runner), "f", {"told": str(told)}, searched)
        protocol = Protocol("made", "Made", "", typed, (method,), liked=liked)
        (found,) = Measurement(tmp_path / "kept", 2).of(protocol)
        return found, json.loads(told.read_text()), protocol

    return run


def test_settings_are_chosen_on_a_part_of_training_and_nothing_is_told_of_the_test(
    measured, run_config, small_table
):
    typed = ("split=random", "split.val=0", "split.test=0.5")
    data = load_data(run_config(*typed), small_table)
    train = data.columns(data.rows.train).ratings
    test = data.columns(data.rows.test).ratings
    held = np.random.default_rng(42).random(len(train)) < 0.1
    constants = (1.5, 3.0, 9.0)
    found, told, _ = measured(typed, {"constant": constants})

    def rmse(truth, constant):
        return np.sqrt(np.mean((truth - np.clip(constant, *small_table.rating_range)) ** 2))

    assert found.settings["constant"] == min(constants, key=lambda each: rmse(train[held], each))
    assert found.numbers == {"rmse": [pytest.approx(rmse(test, found.settings["constant"]))] * 2}
    assert told["given"]["test_ratings"] == [0.0] * len(test)
    assert told["given"]["train_ratings"] == train.tolist()
    assert told["asked"]["seed"] == 43, "of the last fit"


def test_a_fit_that_was_kept_is_not_repeated(measured, tmp_path):
    typed = ("split=random", "split.val=0", "split.test=0.5")
    first, _, protocol = measured(typed, {"constant": (3.0,)})
    (tmp_path / "runner.py").write_text("raise SystemExit(1)")
    (again,) = Measurement(tmp_path / "kept", 2).of(protocol)
    assert again == first
    with pytest.raises(RuntimeError, match="Made failed"):
        list(Measurement(tmp_path / "elsewhere", 2).of(protocol))


def test_scores_are_ranked_as_those_of_a_model_are(run_config, small_table):
    config = run_config("split=random", "split.val=0.3", "split.test=0.3", "model.init_range=1")
    data = load_data(config, small_table)
    scores = build_module(config, data).model.eval().item_scores()
    asked = {"liked": "all", "top_k": [2]}
    expected = rank_part(scores, data, "test", **asked)
    with torch.no_grad():
        matrix = scores.of_users(torch.arange(1, len(data.user_vocabulary)))
    assert rank_part(Scores(matrix), data, "test", **asked) == expected
    assert torch.equal(Scores(matrix).of_users(slice(2, 4)), matrix[1:3])


def test_of_a_ranking_what_was_liked_in_training_is_given(
    measured, run_config, small_table, monkeypatch
):
    typed = ("split=random", "split.val=0.2", "split.test=0.2")
    monkeypatch.setattr(accuracy, "K", 1)  # of few items
    data = load_data(run_config(*typed), small_table)
    found, told, _ = measured(typed, {}, liked=4.0)
    columns = data.columns(data.rows.train)
    liked = columns.ratings >= 4
    assert told["given"]["users"] == (columns.users[liked] - 1).tolist()
    assert told["given"]["items"] == (columns.items[liked] - 1).tolist()
    assert set(found.numbers) == {"ndcg", "recall", "coverage"}


def test_a_package_that_cannot_be_installed_is_told_in_words(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = ("--no-index", "no-such-package-anywhere==1.0")
    monkeypatch.setitem(environments.REQUIREMENTS, "nothing", asked)
    found = environment_of("nothing")
    assert found.python is None
    assert "no-such-package-anywhere" in found.problem
    assert not list(tmp_path.rglob("installed"))
    method = Method("Nothing", "nothing", "", "")
    there = Measured(Method("A", "cornac", "", ""), {"lr": 0.01}, {"rmse": [0.9, 0.92]})
    lines = markdown([Measured(method, {}, {}, "it does not build"), there]).splitlines()
    assert lines[2] == "| A | cornac 3.0.1 | 0.9100 ± 0.0141 | lr 0.01 |"
    assert lines[3].endswith("|  | not measured: it does not build |")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.name)
def test_a_protocol_has_what_its_methods_are_chosen_by(protocol):
    config = validated(composed(*protocol.typed))
    if protocol.liked is None:
        assert (protocol.part == "val") == (config.split.name == "lecture")
        assert protocol.part == "val" or not config.split.has_val
    else:
        assert config.split.has_val == (not protocol.settings_of)
    assert len({method.title for method in protocol.methods}) == len(protocol.methods)


def test_figures_of_others_in_the_table_of_accuracy_are_those_of_their_page():
    page = (REPOSITORY / "docs/results/peers.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| [^|]+ \| (0\.\d{4}) ±", page, re.MULTILINE))
    assert rows
    measured = [
        (section, peer)
        for section in SECTIONS
        for peer in section.peers
        if peer.source == "measured" and "peers.md" in peer.where
    ]
    assert len(measured) >= 10
    for section, peer in measured:
        found = page.split("## Ratings: ")[2 if "lecture" in section.title else 1]
        assert f"| {peer.name} | " in found
        assert re.search(rf"^\| {re.escape(peer.name)} \| [^|]+ \| {peer.rmse:.4f} ±", found, re.M)
