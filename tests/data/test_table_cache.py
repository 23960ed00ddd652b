import hashlib
import json
import logging
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lightning_collab.data import sources, table_cache
from lightning_collab.data.sources import custom_file, load_ratings
from lightning_collab.data.table_cache import cached_table


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(folder))
    return folder


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("some ratings")
    return path


class Parser:
    """Counts how often it is asked."""

    def __init__(self, table):
        self.table = table
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return self.table


def entries(cache):
    return [path for path in cache.iterdir() if path.is_dir()]


def assert_same(one, two):
    for column in ("users", "items", "ratings", "timestamps"):
        assert np.array_equal(getattr(one, column), getattr(two, column))
        assert getattr(one, column).dtype == getattr(two, column).dtype
    assert one.user_vocabulary == two.user_vocabulary
    assert one.item_vocabulary == two.item_vocabulary
    assert (one.name, one.rating_range) == (two.name, two.rating_range)
    for side in ("user_features", "item_features"):
        mine, other = getattr(one, side), getattr(two, side)
        assert mine.equals(other) if mine is not None else other is None
    assert list(one.parts) == list(two.parts)
    for name, rows in one.parts.items():
        assert np.array_equal(rows, two.parts[name])
        assert rows.dtype == two.parts[name].dtype


def test_the_second_start_does_not_parse(cache, source, ml_100k):
    parse = Parser(ml_100k)
    for _ in range(2):
        assert_same(cached_table({}, [source], parse), ml_100k)
    assert parse.asked == 1


@pytest.mark.parametrize("changed", ["file", "settings", "code"])
def test_whatever_changes_the_table_parses_it_again(
    cache, source, small_table, monkeypatch, changed
):
    parse = Parser(small_table)
    settings = {"delimiter": ","}
    cached_table(settings, [source], parse)
    if changed == "file":
        source.write_text("other ratings")
    elif changed == "settings":
        settings = {"delimiter": ";"}
    else:
        monkeypatch.setattr(table_cache, "code_version", lambda: "another")
    for _ in range(2):
        cached_table(settings, [source], parse)
    assert parse.asked == 2
    # An entry that nothing will ask for again is not kept.
    assert len(entries(cache)) == (2 if changed == "settings" else 1)


@pytest.mark.parametrize(
    "facts", ["[]", "3", "null", "{}", '{"sha256": []}', '{"sha256": {"../../x": "0"}}']
)
def test_facts_that_are_not_what_was_written_are_damage(cache, source, small_table, facts, caplog):
    parse = Parser(small_table)
    cached_table({}, [source], parse)
    (entries(cache)[0] / "table.json").write_text(facts)
    assert_same(cached_table({}, [source], parse), small_table)
    assert "is damaged" in caplog.text


def test_a_file_in_the_place_of_an_entry_is_replaced(cache, source, small_table):
    parse = Parser(small_table)
    cached_table({}, [source], parse)
    entry = entries(cache)[0]
    shutil.rmtree(entry)
    entry.write_text("no folder")
    for _ in range(2):
        assert_same(cached_table({}, [source], parse), small_table)
    assert parse.asked == 2


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_planted_entry_runs_nothing(cache, source, small_table, tmp_path, caplog):
    """Its sums are right, so that only the reader itself stands between it and its code."""
    cached_table({}, [source], Parser(small_table))
    entry = entries(cache)[0]
    planted = pickle.dumps(Payload(tmp_path / "owned"))
    facts = json.loads((entry / "table.json").read_text())
    for name in facts["sha256"]:
        (entry / f"{name}.arrow").write_bytes(planted)
        facts["sha256"][name] = hashlib.sha256(planted).hexdigest()
    (entry / "table.json").write_text(json.dumps(facts))
    assert_same(cached_table({}, [source], Parser(small_table)), small_table)
    assert "is damaged" in caplog.text
    assert not (tmp_path / "owned").exists()
    pickle.loads(planted)
    assert (tmp_path / "owned").exists(), "the payload would have run"


@pytest.mark.parametrize("damage", ["cut", "other bytes", "gone", "no facts"])
def test_a_damaged_entry_is_replaced_and_that_is_said(cache, source, small_table, caplog, damage):
    parse = Parser(small_table)
    cached_table({}, [source], parse)
    path = entries(cache)[0] / ("table.json" if damage == "no facts" else "ratings.arrow")
    if damage == "gone":
        path.unlink()
    elif damage == "other bytes":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        assert_same(cached_table({}, [source], parse), small_table)
    assert "is damaged" in caplog.text
    assert "parsing again" in caplog.text
    cached_table({}, [source], parse)
    assert parse.asked == 2


def test_where_nothing_can_be_kept_the_table_is_parsed(tmp_path, source, small_table, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path / "file" / "cache"))
    parse = Parser(small_table)
    assert cached_table({}, [source], parse) is small_table


def test_a_failure_of_the_parser_leaves_no_entry(cache, source):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached_table({}, [source], fail)
    assert entries(cache) == []


def test_a_run_uses_it_unless_told_not_to(cache, run_config, tmp_path, monkeypatch):
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating\n1,1,3\n2,2,4\n")
    config = run_config("data=csv", f"data.path={path}").data
    table = load_ratings(config)
    monkeypatch.setattr(custom_file, "load", lambda *_: pytest.fail("parsed"))
    assert load_ratings(config).ratings.tolist() == table.ratings.tolist()
    with pytest.raises(pytest.fail.Exception):
        load_ratings(config.model_copy(update={"cache": False}))
    os.utime(path, (0, 0))
    assert len(load_ratings(config)) == 2


def test_a_table_kept_before_folds_were_known_is_not_served(
    cache, ml_100k, run_config, monkeypatch
):
    config = run_config("data.cache=true").data
    with monkeypatch.context() as earlier:
        earlier.setattr(table_cache, "code_version", lambda: "without folds")
        earlier.setattr(sources.ml_100k, "load", lambda _: replace(ml_100k, parts={}))
        assert load_ratings(config).parts == {}
    for _ in range(2):
        assert_same(load_ratings(config), ml_100k)
