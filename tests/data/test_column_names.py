"""Columns that nobody has named are found by their usual names, in files and in frames."""

import logging

import polars as pl
import pytest

from lightning_collab import RatingDataModule
from lightning_collab.config.columns import AUTO, ColumnsConfig
from lightning_collab.config.data import FrameConfig
from lightning_collab.data.column_names import PLURALS, USUAL_NAMES, plain
from lightning_collab.data.sources import checked_frame, load_ratings
from lightning_collab.errors import ConfigError, DataError
from lightning_collab.training.build import load_data

ROWS = {
    "user": [1, 1, 2, 2, 3],
    "item": [7, 8, 7, 9, 8],
    "rating": [1.0, 5.0, 2.0, 4.0, 3.0],
    "timestamp": [10, 20, 30, 40, 50],
    "part": ["train", "train", "train", "val", "test"],
    "weight": [1.0, 2.0, 3.0, 4.0, 0.5],
}
HALVES = {"name": "random", "test": 0.4, "val": 0}
NEEDED = ("user", "item", "rating")


@pytest.fixture(params=["file", "frame"])
def read(request, tmp_path, run_config):
    """The table of some columns, of a file or of a frame, with keys of `columns`."""

    def of_file(frame, **columns):
        frame.write_csv(tmp_path / "ratings.csv")
        typed = [
            f"data.columns.{ours}={'null' if theirs is None else theirs}"
            for ours, theirs in columns.items()
        ]
        path = f"data.path={tmp_path / 'ratings.csv'}"
        config = run_config("data=csv", path, "data.cache=false", "loss=bpr", *typed)
        return load_ratings(config.data)

    def of_frame(frame, **columns):
        return checked_frame(frame, FrameConfig(columns=columns))[0]

    return of_file if request.param == "file" else of_frame


def found(table):
    """What of ours is in a table, and with what values."""
    columns = {
        "user": table.user_vocabulary.decode(table.users).to_list(),
        "item": table.item_vocabulary.decode(table.items).to_list(),
    }
    if not table.implicit:
        columns["rating"] = table.ratings.tolist()
    if table.timestamps is not None:
        columns["timestamp"] = table.timestamps.tolist()
    if table.parts:
        of_row = {row: part for part, rows in table.parts.items() for row in rows}
        columns["part"] = [of_row[row] for row in range(len(table))]
    if table.weights is not None:
        columns["weight"] = table.weights.tolist()
    return columns


@pytest.mark.parametrize("names", [("userId", "movie-id", "Score"), ("CUSTOMER", "sku", "stars")])
@pytest.mark.parametrize("others", [{}, {"Time": "timestamp", "SPLIT": "part", "plays": "weight"}])
def test_columns_are_found_by_usual_names(read, names, others, caplog):
    theirs = dict(zip(names, NEEDED, strict=True)) | others
    frame = pl.DataFrame({name: ROWS[ours] for name, ours in theirs.items()})
    with caplog.at_level(logging.INFO):
        table = read(frame.with_columns(pl.lit("x").alias("comment")))
    assert found(table) == {ours: ROWS[ours] for ours in theirs.values()}
    said = ", ".join(f"{ours}={name}" for name, ours in theirs.items())
    (line,) = [each for each in caplog.messages if ": columns " in each]
    assert line.endswith(f": columns {said}")


@pytest.mark.parametrize("ours", sorted(USUAL_NAMES))
def test_each_usual_name_finds_its_column_alone(read, ours):
    for usual in USUAL_NAMES[ours]:
        assert plain(usual) == usual
        frame = pl.DataFrame({usual if name == ours else name: ROWS[name] for name in ROWS})
        assert found(read(frame)) == ROWS
    others = [name for key, names in USUAL_NAMES.items() if key != ours for name in names]
    assert set(USUAL_NAMES[ours]).isdisjoint(others)
    assert set(USUAL_NAMES) == set(PLURALS) == set(ColumnsConfig.model_fields)


def test_what_is_named_is_not_found_as_something_else(read):
    frame = pl.DataFrame(ROWS).rename({"rating": "count"})
    assert found(read(frame.drop("weight"), rating="count"))["rating"] == ROWS["rating"]
    # Of two that may be the items one is named, and so the other is not asked for.
    frame = pl.DataFrame({**ROWS, "movie": [1, 1, 2, 1, 1]}).rename({"item": "product"})
    assert found(read(frame, item="product")) == ROWS


def test_our_own_name_comes_before_other_usual_ones(read):
    frame = pl.DataFrame({**ROWS, "userid": [9] * 5, "date": ["never"] * 5})
    assert found(read(frame)) == ROWS


def test_null_is_none_although_there_is_such_a_column(read):
    nulls = {"rating": None, "timestamp": None, "part": None, "weight": None}
    table = read(pl.DataFrame(ROWS), **nulls)
    assert found(table) == {"user": ROWS["user"], "item": ROWS["item"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("who", "item", "rating"),
            r"no column of the users with a usual name \(user, userid, " r"cust",
        ),
        (("user", "what", "rating"), r"no column of the items .* has 'user', 'what', 'rating'\."),
        (("user", "item", "liking"), r"rating=(null|None)$"),
        (("user", "item", "rating", "user_id", "USERID"), None),
        (("movie", "userid", "rating", "sku"), r"several columns could be the items; .*movie.*sku"),
        (("user", "item", "rating", "date", "time"), r"several columns could be the timestamps; "),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_set(read, names, message):
    values = [[1, 2], [1, 2], [3.0, 4.0], [1, 2], [1, 2]]
    frame = pl.DataFrame(dict(zip(names, values[: len(names)], strict=True)))
    if message is None:
        assert found(read(frame))["user"] == [1, 2]
        return
    with pytest.raises(DataError, match=message):
        read(frame)


@pytest.mark.parametrize(
    ("column", "value"), [("date", "1999-13-01"), ("part", "wheel"), ("count", 0), ("weight", "x")]
)
def test_a_value_that_makes_no_sense_says_how_to_leave_the_column_out(read, column, value):
    frame = pl.DataFrame({name: ROWS[name] for name in NEEDED})
    with pytest.raises(DataError, match=r"found by its name; .* (set|pass) .*=(null|None)$"):
        read(frame.with_columns(pl.lit(value).alias(column)))
    ours = next(key for key, names in USUAL_NAMES.items() if column in names)
    assert len(read(frame.with_columns(pl.lit(value).alias(column)), **{ours: None})) == 5
    with pytest.raises(DataError) as refused:
        read(frame.with_columns(pl.lit(value).alias(column)), **{ours: column})
    assert "found by its name" not in str(refused.value)


def test_a_delimiter_that_is_another_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("user;item;rating\n1;2;3\n")
    advice = r"Is the delimiter a semicolon\? Then pass delimiter=\"semicolon\""
    with pytest.raises(DataError, match=advice):
        RatingDataModule.from_file(tmp_path / "a.csv", cache=False, delimiter=",")


def test_a_position_is_counted_from_one(tmp_path):
    pl.DataFrame(ROWS).rename({"item": "what"}).write_csv(tmp_path / "a.csv")
    split = {"name": "predefined"}
    data = RatingDataModule.from_file(tmp_path / "a.csv", item=2, cache=False, split=split)
    assert found(data.table) == ROWS


def test_without_a_header_only_what_is_named_is_there(tmp_path, run_config):
    (tmp_path / "a.csv").write_text("1,7,3,10\n2,8,4,20\n")
    path = (f"data.path={tmp_path / 'a.csv'}", "data.header=false", "data.cache=false")
    typed = [f"data.columns.{ours}={n}" for n, ours in enumerate(("user", "item", "rating"), 1)]
    table = load_ratings(run_config("data=csv", *path, *typed).data)
    assert found(table) == {"user": [1, 2], "item": [7, 8], "rating": [3.0, 4.0]}
    for key in ("user", "rating"):
        less = [each for each in typed if key not in each]
        with pytest.raises(ConfigError, match=rf"data\.columns\.{key} must be a position"):
            run_config("data=csv", *path, *less)
    with pytest.raises(ConfigError, match="split=temporal needs timestamps"):
        run_config("data=csv", *path, *typed, "split=temporal")


def test_what_one_of_several_files_lacks_is_not_taken(tmp_path, run_config):
    frame = pl.DataFrame(ROWS)
    frame[:3].rename({"user": "user_id"}).write_csv(tmp_path / "train.csv")
    frame[3:].drop("timestamp", "part").write_csv(tmp_path / "test.csv")
    paths = [f"data.path={tmp_path / 'train.csv'}", f"data.test_path={tmp_path / 'test.csv'}"]
    table = load_ratings(run_config("data=csv", "data.cache=false", *paths).data)
    expected = {**ROWS, "part": ["train"] * 3 + ["test"] * 2}
    del expected["timestamp"]
    assert found(table) == expected


def test_a_file_about_items_has_their_name_among_the_ratings(tmp_path):
    pl.DataFrame(ROWS).rename({"item": "movieId"}).write_csv(tmp_path / "ratings.csv")
    films = pl.DataFrame({"movieId": [7, 8, 9], "title": ["A", "B", "C"]})
    films.write_csv(tmp_path / "films.csv")
    data = RatingDataModule.from_file(
        tmp_path / "ratings.csv", items=tmp_path / "films.csv", cache=False, split=HALVES
    )
    assert data.table.item_features["title"].to_list() == ["A", "B", "C"]
    frame = pl.DataFrame(ROWS).rename({"item": "movieId"})
    data = RatingDataModule.from_frame(frame, items=films, split=HALVES)
    assert data.table.item_features["item"].to_list() == [7, 8, 9]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("split=temporal",), r"no timestamps to split by; name their column by data\.columns\.ti"),
        (("split=leave_one_out",), r"no timestamps .*data\.columns\.timestamp"),
        (("split=predefined",), r"split\.test_part=test: .*data\.columns\.part"),
        (
            ("+features.time.drift={of: items, days: 30}",),
            r"features\.time\.drift needs timestamps.*data\.columns\.timestamp",
        ),
    ],
)
def test_what_needs_a_column_that_is_not_found_names_its_key(tmp_path, run_config, keys, message):
    rows = {"user": list(range(20)) * 2, "item": [1] * 20 + [2] * 20, "rating": [1.0, 2.0] * 20}
    pl.DataFrame(rows).write_csv(tmp_path / "a.csv")
    path = (f"data.path={tmp_path / 'a.csv'}", "data.cache=false")
    config = run_config("data=csv", *path, *keys)
    with pytest.raises(DataError, match=message):
        load_data(config, load_ratings(config.data))
    null = "part" if "part" in message else "timestamp"
    with pytest.raises(ConfigError, match=r"timestamps|does not say"):
        run_config("data=csv", *path, *keys, f"data.columns.{null}=null")


def test_a_frame_is_known_again_by_the_columns_that_were_taken():
    frame = pl.DataFrame(ROWS).rename({"user": "customer", "weight": "plays"})
    table, known = checked_frame(frame, FrameConfig())
    assert AUTO not in dict(known.columns).values()
    assert (known.columns.user, known.columns.weight) == ("customer", "plays")
    again, _ = checked_frame(frame.with_columns(product=pl.lit(1)), known)
    assert found(again) == found(table) == ROWS
