"""Sources turned into columns on disk, a part at a time, against the same sources in memory."""

import gzip
import json
import logging
import os
import re
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from killed_runs import CONTEXT
from support import composed

from lightning_collab.config import validated
from lightning_collab.data import mapping
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.mapped_table import FACTS, PARTS
from lightning_collab.data.mapping import hashed_parts
from lightning_collab.data.metadata import metadata_table, write_history
from lightning_collab.data.sources import load_ratings, streams
from lightning_collab.errors import ConfigError, DataError, StorageError
from lightning_collab.metrics.baselines import baseline_metrics
from lightning_collab.training.build import load_data

MAPPED = "data.storage=memory_map"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, and parts so small that each source has several."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(folder))
    monkeypatch.setattr(streams, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(streams, "CHUNK_ROWS", 170)
    return folder


def entry(cache):
    (found,) = (path for path in cache.iterdir() if path.is_dir())
    return found


def rated(table, rows=slice(None)):
    """User, item, rating of some rows of a table in memory."""
    return pl.DataFrame(
        {
            "user": table.user_vocabulary.decode(table.users[rows]),
            "item": table.item_vocabulary.decode(table.items[rows]),
            "rating": table.ratings[rows],
        }
    )


def parts_of(table, seed=42, test=0.1, val=0.1111111111):
    which = hashed_parts(np.uint64(seed), 0, len(table), np.float64(test), np.float64(val))
    return {part: np.flatnonzero(which == number) for number, part in enumerate(PARTS)}


def assert_same(mapped, table, parts=None):
    """The columns are the rows of the table, in their order, as the training part numbers them."""
    for part, rows in (parts or parts_of(table)).items():
        users, items, ratings = mapped.columns[part]
        expected = rated(table, rows)
        assert np.array_equal(users, mapped.training_users.encode(expected["user"])), part
        assert np.array_equal(items, mapped.training_items.encode(expected["item"])), part
        assert np.array_equal(ratings, expected["rating"].to_numpy()), part
        if part == "train":
            assert mapped.training_users.ids.equals(expected["user"].unique().sort())
            assert mapped.training_items.ids.equals(expected["item"].unique().sort())
    assert mapped.user_vocabulary == table.user_vocabulary
    assert mapped.item_vocabulary == table.item_vocabulary
    assert (mapped.name, mapped.rating_range) == (table.name, table.rating_range)


def made_up(count=400, users=30, items=25):
    random = np.random.default_rng(3)
    pairs = random.permutation(users * items)[:count]
    ratings = random.integers(1, 11, count) / 2
    return pl.DataFrame({"user": pairs // items + 100, "item": pairs % items, "rating": ratings})


def written(frame, path):
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    elif path.suffix == ".tsv":
        frame.write_csv(path, separator="\t", include_header=False)
    else:
        frame.write_csv(path)
    return path


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.parquet", "r.tsv"])
@pytest.mark.parametrize("ids", ["integers", "text"])
def test_a_file_of_each_kind_gives_its_rows(tmp_path, run_config, name, ids):
    frame = made_up()
    if ids == "text":
        frame = frame.with_columns(pl.format("ü,{}", "item").alias("item"))
    written(frame, tmp_path / name)
    options = ["data=csv", f"data.path={tmp_path / name}"]
    if name.endswith("tsv"):
        options += ["data.columns.user=1", "data.columns.item=2", "data.columns.rating=3"]
    table = load_ratings(run_config(*options).data)
    assert_same(load_ratings(run_config(*options, MAPPED).data), table)


def test_a_number_that_is_text_later_on_makes_all_ids_text(tmp_path, run_config):
    frame = made_up().with_columns(pl.col("user").cast(pl.String))
    late = pl.DataFrame({"user": ["007", "x"], "item": [1, 1], "rating": [1.0, 2.0]})
    path = written(pl.concat([frame, late]), tmp_path / "r.csv")
    options = ("data=csv", f"data.path={path}")
    mapped = load_ratings(run_config(*options, MAPPED).data)
    assert mapped.user_vocabulary.ids.dtype == pl.String
    assert_same(mapped, load_ratings(run_config(*options).data))


def test_records_of_several_lines_are_not_cut(tmp_path, run_config):
    frame = made_up().with_columns(note=pl.lit('two\nlines, "quoted"'))
    path = written(frame, tmp_path / "r.csv")
    options = ("data=csv", f"data.path={path}", "data.min_rating=2")
    assert_same(
        load_ratings(run_config(*options, MAPPED).data), load_ratings(run_config(*options).data)
    )


def test_part_files_and_tables_of_users_and_items(tmp_path, run_config):
    frame = made_up()
    folder = tmp_path / "parts"
    folder.mkdir()
    for start in (0, 150, 300):
        written(frame[start : start + 150], folder / f"part-{start:03}.csv")
    films = frame.select(pl.col("item").unique()).with_columns(title=pl.format("Film {}", "item"))
    films.write_csv(tmp_path / "films.csv")
    options = ("data=csv", f"data.path={folder}", f"data.items_path={tmp_path / 'films.csv'}")
    table = load_ratings(run_config(*options).data)
    mapped = load_ratings(run_config(*options, MAPPED).data)
    assert_same(mapped, table)
    assert mapped.item_features.equals(table.item_features)
    assert mapped.user_features is None


@pytest.mark.parametrize("by", ["column", "files"])
def test_parts_that_the_data_names(tmp_path, run_config, by):
    names = np.random.default_rng(0).choice(PARTS, 400, p=[0.7, 0.1, 0.2])
    frame = made_up().with_columns(part=pl.Series(names))
    options = ["data=csv", "split=predefined", f"data.path={tmp_path / 'train.csv'}"]
    if by == "column":
        written(frame, tmp_path / "train.csv")
    else:
        for part in PARTS:
            written(frame.filter(part=part).drop("part"), tmp_path / f"{part}.csv")
        options += [f"data.{part}_path={tmp_path / part}.csv" for part in ("val", "test")]
    config = run_config(*options)
    data = load_data(config)
    mapped = load_ratings(run_config(*options, MAPPED).data, split=config.split)
    rows = {part: getattr(data.rows, part) for part in PARTS}
    assert_same(mapped, data.table, rows)


@pytest.mark.parametrize("ending", ["csv", "dat"])
def test_releases_of_movielens(tmp_path, run_config, ending):
    frame = made_up()
    name, folder = ("ml_20m", "ml-20m") if ending == "csv" else ("ml_10m", "ml-10M100K")
    (tmp_path / folder).mkdir()
    lines = [f"{u},{i},{r},9" for u, i, r in frame.rows()]
    films = "movieId,title,genres\n" + "".join(f"{n},Film {n} (1990),Drama\n" for n in range(25))
    if ending == "csv":
        lines.insert(0, "userId,movieId,rating,timestamp")
    else:
        lines = [line.replace(",", "::") for line in lines]
        films = films.partition("\n")[2].replace(",", "::")
    (tmp_path / folder / f"ratings.{ending}").write_text("\n".join(lines) + "\n")
    (tmp_path / folder / f"movies.{ending}").write_text(films)
    options = (f"data={name}", f"data.root={tmp_path}")
    table = load_ratings(run_config(*options).data)
    mapped = load_ratings(run_config(*options, MAPPED).data)
    assert_same(mapped, table)
    assert mapped.item_features.equals(table.item_features)
    text = (tmp_path / folder / f"ratings.{ending}").read_text().splitlines()
    text[300] = text[300].replace("9", "late")
    (tmp_path / folder / f"ratings.{ending}").write_text("\n".join(text))
    with pytest.raises(DataError, match=rf"{folder}/ratings\.{ending}, line 301: 'late' is not"):
        load_ratings(run_config(*options, MAPPED).data)


def test_synthetic_ratings_are_those_of_memory(run_config, monkeypatch):
    monkeypatch.setattr("lightning_collab.data.sources.synthetic.CHUNK", 3000)
    options = ("data=synthetic", "data.ratings=20000")
    table = load_ratings(run_config(*options).data)
    assert_same(load_ratings(run_config(*options, MAPPED).data), table)


def test_the_rows_of_a_user_are_dealt_over_the_whole_file(run_config, monkeypatch):
    options = ("data=synthetic", "data.ratings=20000", "data.users=100", MAPPED)
    config = run_config(*options).data
    whole = load_ratings(config)
    monkeypatch.setattr(mapping, "STRETCH", 2000)
    monkeypatch.setattr(mapping, "NOT_OF_THE_COLUMNS", mapping.NOT_OF_THE_COLUMNS | {"seed"})
    dealt = load_ratings(config)
    users = dealt.columns["train"][0]
    # Ten stretches of users one after the other.
    assert (np.diff(users) < 0).sum() == 9
    assert all(np.unique(each).size > 90 for each in np.array_split(users, 10))
    for part in PARTS:
        one, two = (np.stack(each.columns[part]) for each in (whole, dealt))
        assert np.array_equal(one[:, np.lexsort(one)], two[:, np.lexsort(two)])


@given(
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(0, 2**40),
    test=st.floats(0, 0.5),
    val=st.floats(0, 0.5),
)
def test_the_part_of_a_row_is_a_function_of_seed_and_row(seed, first, test, val):
    shares = np.float64(test), np.float64(val)
    whole = hashed_parts(np.uint64(seed), first, 50, *shares)
    cut = hashed_parts(np.uint64(seed), first + 20, 30, *shares)
    assert np.array_equal(whole[20:], cut)
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def splitmix(state):
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & mask
        return state ^ state >> 31

    key = splitmix((seed + golden) & mask)
    for row, part in enumerate(whole, first):
        share = (splitmix((key + golden * (row + 1)) & mask) >> 11) / 2**53
        expected = 2 if share < test else 1 if share < test + (1 - test) * val else 0
        assert part == expected


def test_the_parts_have_their_shares_whatever_the_seed():
    counts = np.array(
        [
            np.bincount(hashed_parts(np.uint64(seed), 0, 100_000, 0.2, 0.25), minlength=3)
            for seed in range(5)
        ]
    )
    # Five standard deviations of a binomial count.
    assert np.abs(counts - [60_000, 20_000, 20_000]).max() < 5 * np.sqrt(100_000 * 0.24)
    assert len(np.unique(counts, axis=0)) == 5


def test_what_is_told_of_the_data_is_the_same_as_in_memory(tmp_path, run_config, monkeypatch):
    path = written(made_up(700), tmp_path / "r.csv")
    monkeypatch.setattr("lightning_collab.data.metadata.ROWS_SORTED", 90)
    for module in ("metadata", "datamodule", "mapping"):
        monkeypatch.setattr(f"lightning_collab.data.{module}.AT_A_TIME", 64)
    monkeypatch.setattr("lightning_collab.metrics.baselines.SUMMED_AT_A_TIME", 50)
    options = ("data=csv", f"data.path={path}", "split.test=0.3")
    mapped = load_data(run_config(*options, MAPPED))
    table = load_ratings(run_config(*options).data)
    parts = parts_of(table, test=0.3)
    named = np.empty(len(table), dtype="<U5")
    for part, rows in parts.items():
        named[rows] = part
    frame = rated(table).with_columns(part=pl.Series(named))
    data = RatingDataModule.from_frame(frame, split={"name": "predefined"})
    assert mapped.mean_rating == data.mean_rating
    found, expected = baseline_metrics(mapped), baseline_metrics(data)
    assert found == pytest.approx(expected, rel=1e-12)
    for side in ("users", "items"):
        assert metadata_table(mapped, side).equals(metadata_table(data, side))
        assert np.array_equal(mapped.training_counts()[side], data.training_counts()[side])
    for part in ("val", "test"):
        of_mapped, of_memory = (getattr(each.rows, part) for each in (mapped, data))
        assert mapped.unknown_counts(of_mapped) == data.unknown_counts(of_memory)
    for each, name in ((mapped, "mapped"), (data, "memory")):
        with (tmp_path / name).open("wb") as file:
            write_history(each, file)
    assert pl.read_parquet(tmp_path / "mapped").equals(pl.read_parquet(tmp_path / "memory"))


def test_the_columns_are_written_once(tmp_path, run_config, cache, monkeypatch):
    path = written(made_up(), tmp_path / "r.csv")
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    first = load_ratings(config)
    monkeypatch.setattr(mapping, "_write", None)
    assert load_ratings(config).sum == first.sum
    window = config.model_copy(update={"shuffle_window": 100, "batch_size": 7, "cache": False})
    assert load_ratings(window).window == 100
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [entry(cache).name]


def test_a_changed_source_takes_the_place_of_the_old_one(tmp_path, run_config, cache):
    path = written(made_up(), tmp_path / "r.csv")
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    old = load_ratings(config)
    written(made_up(390), path)
    assert load_ratings(config).sum != old.sum
    entry(cache)  # the only one


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone", "another"])
def test_broken_columns_are_made_again(tmp_path, run_config, cache, harm, caplog):
    path = written(made_up(), tmp_path / "r.csv")
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    before = load_ratings(config)
    broken = entry(cache) / "train.items"
    content = bytearray(broken.read_bytes())
    content[8] ^= 1
    if harm == "cut":
        broken.write_bytes(content[:100])
    elif harm == "flipped":
        broken.write_bytes(content)
    elif harm == "gone":
        broken.unlink()
    else:  # of another data set
        shutil.copy(entry(cache) / "val.items", broken)
    with caplog.at_level(logging.WARNING):
        again = load_ratings(config)
    assert "damaged" in caplog.text
    assert again.sum == before.sum


def test_what_a_killed_process_leaves_is_removed(tmp_path, run_config, cache):
    path = written(made_up(), tmp_path / "r.csv")
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    load_ratings(config)
    done = entry(cache)
    left = cache / f".writing-{done.name.split('-')[1]}"
    done.rename(left)  # as far as one can get
    (left / FACTS).unlink()
    assert len(load_ratings(config)) > 0
    assert entry(cache) == done


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    run_config, cache, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 10**9))
    config = run_config("data=synthetic", "data.ratings=1000000000", MAPPED).data
    with pytest.raises(StorageError, match=rf"1,000,000,000 .* 12\.0 GB in {cache}, and 1\.0 GB"):
        load_ratings(config)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_source_that_changes_while_it_is_read_is_refused(
    tmp_path, run_config, cache, monkeypatch
):
    path = written(made_up(), tmp_path / "r.csv")
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    read, times = streams.read_file, []

    def and_written(*arguments):
        times.append(1)
        if len(times) == 1:
            with path.open("a") as file:
                file.write("1,1,1.0\n")
        return read(*arguments)

    monkeypatch.setattr(streams, "read_file", and_written)
    with pytest.raises(DataError, match=r"r\.csv: it was changed while it was read"):
        load_ratings(config)
    assert not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_a_bad_value_is_named_with_its_place(tmp_path, run_config, name):
    frame = made_up().with_columns(
        rating=pl.when(pl.int_range(pl.len()) == 300).then(None).otherwise("rating")
    )
    path = written(frame, tmp_path / name)
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    place = {"r.csv": "line 302", "r.jsonl": "line 301", "r.parquet": "row 301"}[name]
    with pytest.raises(DataError, match=rf"{name}, {place}: .* is not a valid rating"):
        load_ratings(config)


def test_a_pair_that_comes_twice_is_refused(tmp_path, run_config, monkeypatch):
    frame = made_up()
    path = written(pl.concat([frame, frame[[5]]]), tmp_path / "r.csv")
    config = run_config("data=csv", f"data.path={path}", MAPPED).data
    user, item, _ = frame.row(5)
    for at_a_time in (1 << 25, 50):
        monkeypatch.setattr(mapping, "PAIRS_AT_A_TIME", at_a_time)
        with pytest.raises(DataError, match=rf"1 ratings .*first: user {user}, item {item}\)"):
            load_ratings(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item,rating\n1,1,3\n1,2,4\n", "all 2 ratings are of one user"),
        ("user,item,rating\n1,1,3\n2,2,3\n", "every rating is 3, which is not a scale"),
        ("user,item\n1,1\n2,2\n", "no column of the ratings"),
        ("user,item,rating\n1,1,3\n2,2,4\n", "without any"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, run_config, content, message):
    (tmp_path / "r.csv").write_text(content)
    split = () if message == "without any" else ("split.test=0", "split.val=0")
    config = run_config("data=csv", f"data.path={tmp_path / 'r.csv'}", MAPPED, *split)
    with pytest.raises(DataError, match=message):
        load_ratings(config.data, split=config.split)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("split=temporal",), "split=temporal"),
        (("split=cold_items",), "split=cold_items"),
        (("data.k_core=2",), r"data\.k_core=2"),
        (("data.order=by_user",), r"data\.order=by_user"),
        (("data.batch_size=full",), r"data\.batch_size=full"),
        (("features=everything",), r"features\.\w+ needs"),
        (("loss=softmax",), "loss=softmax"),
        (("model=least_squares_factors",), "model=least_squares_factors"),
        (("model=bayesian_factors",), "model=bayesian_factors"),
        (("data=csv", "data.path=x", "data.duplicates=last"), r"data\.duplicates=last"),
        (("data=csv", "data.path=x", "data.columns.weight=w"), r"data\.columns\.weight=w"),
    ],
)
def test_what_needs_all_ratings_in_memory_is_refused_before_data_is_read(run_config, options, key):
    with pytest.raises(ConfigError, match=rf"{key}.*data\.storage=memory"):
        run_config(*options, MAPPED)


def test_python_is_refused_likewise(tmp_path):
    path = written(made_up(), tmp_path / "r.csv")
    settings = {"storage": "memory_map"}
    data = RatingDataModule.from_file(path, **settings)
    assert data.mapped is not None
    assert json.loads((entry(tmp_path / "cache") / FACTS).read_text())["name"] == "r.csv"
    with pytest.raises(ConfigError, match="split=k_fold needs all ratings in memory"):
        RatingDataModule.from_file(path, split={"name": "k_fold"}, **settings)
    features = {"items": {"seen": {"kind": "history"}}}
    with pytest.raises(ConfigError, match="features needs all ratings in memory"):
        RatingDataModule.from_file(path, features=features, **settings)


def _loaded_in(cache, options):
    """In a process whose server may have been started by another test, with its environment."""
    os.environ["LIGHTNING_COLLAB_CACHE"] = str(cache)
    return load_ratings(validated(composed(*options)).data)


def _load_and_die(cache, options):
    """Killed between two columns, where one of them has its name already."""
    joined = mapping._joined

    def dying(parts, whole):
        if any(whole.parent.glob("train.*")):
            os.kill(os.getpid(), signal.SIGKILL)
        joined(parts, whole)

    mapping._joined = dying
    _loaded_in(cache, options)


def test_a_process_that_is_killed_while_writing_leaves_nothing_that_is_taken(run_config, cache):
    options = ("data=synthetic", "data.ratings=19000", "data.users=1900", MAPPED)
    process = CONTEXT.Process(target=_load_and_die, args=(cache, options))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (writing,) = cache.glob(".writing-*")
    assert len(list(writing.glob("train.*"))) == 1
    mapped = load_ratings(run_config(*options).data)
    assert not list(cache.glob(".writing-*"))
    assert_same(mapped, load_ratings(run_config(*options[:-1]).data))


def _read_all(cache, options, ready, measured):
    """Touch every page of the columns, and say which share of them is counted as this process's."""
    table = _loaded_in(cache, options)
    for part in table.columns.values():
        for column in part:
            column.sum()
    ready.wait()
    found = Path("/proc/self/smaps").read_text()
    regions = re.findall(r"^[0-9a-f]+-.*?(?=^[0-9a-f]+-|\Z)", found, re.M | re.S)
    ours = [each for each in regions if re.search(r"/columns-.*/(train|val|test)\.", each)]
    measured.put(sum(int(re.search(r"^Pss: +(\d+)", each, re.M)[1]) for each in ours))
    ready.wait()


@pytest.mark.slow
def test_processes_of_one_machine_share_the_columns(run_config, cache):
    options = ("data=synthetic", "data.ratings=3000000", "data.users=3000", MAPPED)
    load_ratings(run_config(*options).data)
    totals = []
    for count in (1, 2):
        ready, measured = CONTEXT.Barrier(count), CONTEXT.Queue()
        processes = [
            CONTEXT.Process(target=_read_all, args=(cache, options, ready, measured))
            for _ in range(count)
        ]
        for process in processes:
            process.start()
        totals.append(sum(measured.get(timeout=100) for _ in processes))
        for process in processes:
            process.join()
    # 12 bytes a rating, in KiB.
    assert totals[0] > 0.9 * 12 * 3_000_000 / 1024
    assert totals[1] <= 1.1 * totals[0]
