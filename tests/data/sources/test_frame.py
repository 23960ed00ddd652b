"""Your own ratings in a frame: the same table as from a file, and the same refusals."""

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.config import validated
from lightning_collab.config.data import CustomFileConfig, FrameColumnsConfig, FrameConfig
from lightning_collab.data.sources import checked_frame, load_ratings
from lightning_collab.data.sources.frame import read_frame
from lightning_collab.errors import DataError

COLUMNS = FrameColumnsConfig(user="who", item="what", rating="stars", timestamp="when")
CONFIG = FrameConfig(columns=COLUMNS)
GOOD = {
    "who": [user for user in range(1, 7) for _ in range(4)],
    "what": [item for _ in range(6) for item in range(10, 14)],
    "stars": [1.0 + user * item % 5 for user in range(1, 7) for item in range(10, 14)],
    "when": [10**9 + n for n in range(24)],
}


def as_pandas(frame):
    return pytest.importorskip("pandas").DataFrame(frame.to_dict(as_series=False))


def as_arrow(frame):
    return pytest.importorskip("pyarrow").table(frame.to_dict(as_series=False))


def as_nullable(frame):
    return as_pandas(frame).convert_dtypes()


def as_objects(frame):
    return as_pandas(frame).astype(object)


KINDS = {
    "polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
    "pandas": as_pandas,
    "pandas with nullable types": as_nullable,
    "pandas with objects": as_objects,
    "arrow": as_arrow,
}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    """Makes a frame of one of the libraries."""
    return KINDS[request.param]


def rows(table):
    users = table.user_vocabulary.decode(table.users).to_list()
    items = table.item_vocabulary.decode(table.items).to_list()
    times = [None] * len(table) if table.timestamps is None else table.timestamps.tolist()
    return list(zip(users, items, table.ratings.tolist(), times, strict=True))


def same_tables(one, other):
    return (
        rows(one) == rows(other)
        and one.user_vocabulary == other.user_vocabulary
        and one.item_vocabulary == other.item_vocabulary
        and one.rating_range == other.rating_range
    )


def test_a_frame_is_read_by_the_names_of_its_columns(kind):
    table, known = checked_frame(kind(pl.DataFrame(GOOD)), CONFIG)
    assert rows(table) == list(zip(*GOOD.values(), strict=True))
    assert table.rating_range == (1.0, 5.0)
    assert (known.rows, known.users, known.items) == (24, False, False)
    # What was to be found was not there, which is kept.
    taken = COLUMNS.model_copy(update={"part": None, "weight": None})
    assert known.columns == taken
    again = known.model_copy(update={"rows": None, "fingerprint": None, "columns": COLUMNS})
    assert again == CONFIG


IDS = st.one_of(
    st.lists(st.integers(0, 2**62), min_size=4, max_size=4, unique=True),
    st.lists(
        st.text(st.characters(codec="utf8", exclude_characters="\x00\r\n"), min_size=1, max_size=5),
        min_size=4,
        max_size=4,
        unique=True,
    ).map(lambda ids: [f"x{each}" for each in ids]),
)
RATINGS = st.lists(st.integers(-8, 8).map(lambda n: n / 4), min_size=12, max_size=12)


@settings(max_examples=40)
@given(users=IDS, items=IDS, ratings=RATINGS, order=st.permutations(range(12)), timed=st.booleans())
def test_every_library_gives_the_table_of_the_file(
    tmp_path_factory, users, items, ratings, order, timed
):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pl.DataFrame(
        {
            "who": [users[n % 4] for n in order],
            "what": [items[n // 4] for n in order],
            "stars": [*ratings[:11], 9.0],
            "when": [10**9 + n for n in order],
        }
    )
    path = tmp_path_factory.mktemp("file") / "ratings.csv"
    frame.write_csv(path)
    columns = {"user": "who", "item": "what", "rating": "stars"}
    columns |= {"timestamp": "when"} if timed else {}
    expected = load_ratings(
        CustomFileConfig.model_validate({"path": str(path), "columns": columns, "cache": False})
    )
    config = FrameConfig(columns=FrameColumnsConfig(**columns))
    prints = set()
    for make in KINDS.values():
        table, known = checked_frame(make(frame), config)
        assert same_tables(table, expected)
        prints.add(known.fingerprint)
    assert len(prints) == 1


def changed(column, row, value):
    values = list(GOOD[column])
    values[row] = value
    return pl.DataFrame({**GOOD, column: values}, strict=False)


NAN, INF = math.nan, math.inf
BAD_VALUES = [
    ("who", None, r"row 3 of the frame \(counted from 0\): a missing value is not a valid user"),
    ("what", None, r"row 3 of the frame \(counted from 0\): a missing value is not a valid item"),
    ("stars", None, r"a missing value is not a valid rating \(1 such row\)"),
    ("stars", INF, r"row 3 of the frame \(counted from 0\): inf is not a valid rating \(1 such"),
    ("who", -1, r"-1 is not a valid user: an id that is a number is never negative"),
    ("who", 1.5, r"1\.5 is not a valid user"),
    ("when", None, r"a missing value is not a valid timestamp"),
    ("when", INF, r"inf is not a valid timestamp"),
    ("when", 10**12, r"looks like milliseconds .*divide the column 'when' by 1000 or make it one"),
]


@pytest.mark.parametrize(("column", "value", "message"), BAD_VALUES)
def test_a_bad_value_is_named_with_its_row_whatever_the_library(kind, column, value, message):
    with pytest.raises(DataError, match=message):
        checked_frame(kind(changed(column, 3, value)), CONFIG)


def test_a_rating_that_is_nan_is_none(kind):
    with pytest.raises(DataError, match=r"(nan|a missing value) is not a valid rating"):
        checked_frame(kind(changed("stars", 3, NAN)), CONFIG)


def test_a_rating_off_the_scale_is_named(kind):
    config = CONFIG.model_copy(update={"rating_range": (1.0, 5.0)})
    with pytest.raises(
        DataError,
        match=r"row 3 of the frame .*: 6(\.0)? is outside the scale of 1 to 5 \(1 such row\)",
    ):
        checked_frame(kind(changed("stars", 3, 6.0)), config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"what": ["", "b", "c", "d"] * 6},
            r"row 0 of the frame .*'' is not a valid item \(6 such",
        ),
        ({"stars": ["good", "4"] * 12}, r"row 0 of the frame .*'good' is not a valid rating"),
        ({"stars": [True] * 24}, r"an unsuitable type: rating is Boolean"),
        ({"stars": [dt.date(2020, 1, 1)] * 24}, r"has an unsuitable type: rating is Date"),
        ({"who": [dt.datetime(2020, 1, 1)] * 24}, r"has an unsuitable type: user is Datetime"),
        ({"who": [[1]] * 24}, r"has an unsuitable type: user is List"),
        ({"when": [dt.timedelta(1)] * 24}, r"has an unsuitable type: timestamp is Duration"),
        ({"who": [7] * 24}, r"all 24 ratings are of one user; .*is user= the right column\?"),
        (
            {"stars": [3.0] * 24},
            r"every rating is 3, which is not a scale; .*rating_range=\(1, 5\)",
        ),
        (
            {"what": [10, 10, 12, 13] * 6},
            r"the frame: 6 ratings are of an item that the same user has rated already \(first: "
            r'user 1, item 10\); pass duplicates="last" or duplicates="mean"',
        ),
    ],
)
def test_what_is_wrong_with_a_frame_is_said_in_words_of_python(change, message):
    with pytest.raises(DataError, match=message) as refused:
        checked_frame(pl.DataFrame({**GOOD, **change}), CONFIG)
    assert "data." not in str(refused.value)


def test_a_frame_without_rows_is_refused(kind):
    with pytest.raises(DataError, match=r"the frame: no rows"):
        checked_frame(kind(pl.DataFrame(GOOD).head(0)), CONFIG)


def test_a_column_that_is_not_there_is_named_with_those_that_are(kind):
    with pytest.raises(
        DataError, match=r"no column 'what' \(item=\"what\"\); it has 'who', 'stars', 'when'"
    ):
        checked_frame(kind(pl.DataFrame(GOOD).drop("what")), CONFIG)


@pytest.mark.parametrize(("policy", "expected"), [("last", 2.0), ("mean", 3.0)])
def test_several_ratings_of_one_item_become_one(kind, policy, expected):
    # The later one in time is the earlier one in the frame.
    frame = pl.DataFrame(
        {
            "who": [1, 2, 1, 1],
            "what": [1, 2, 1, 1],
            "stars": [5.0, 1.0, 2.0, 2.0],
            "when": [50, 100, 300, 200],
        }
    )
    config = CONFIG.model_copy(update={"duplicates": policy})
    table, known = checked_frame(kind(frame), config)
    assert rows(table) == [(2, 2, 1.0, 100), (1, 1, expected, 300)]
    assert known.rows == 4


MOMENTS = [dt.datetime(2020, 1, 1, 12) + dt.timedelta(hours=n) for n in range(24)]
SECONDS = [1577880000 + 3600 * n for n in range(24)]


@pytest.mark.parametrize(
    "when",
    [
        pl.Series(MOMENTS, dtype=pl.Datetime("us")),
        pl.Series(MOMENTS, dtype=pl.Datetime("ns")),
        pl.Series(MOMENTS, dtype=pl.Datetime("us", "UTC")),
        pl.Series(MOMENTS, dtype=pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Tokyo"),
        pl.Series([float(second) + 0.5 for second in SECONDS]),
    ],
    ids=str,
)
def test_times_are_seconds_since_1970_in_utc(when):
    table, _ = checked_frame(pl.DataFrame({**GOOD, "when": when}), CONFIG)
    assert table.timestamps.tolist() == SECONDS


def test_times_of_pandas_are_utc_whatever_their_zone():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(GOOD)
    naive = pandas.Series(MOMENTS)
    tokyo = naive.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    for when in (naive, tokyo, naive.astype("datetime64[s]"), tokyo.astype(object)):
        table, _ = checked_frame(frame.assign(when=when), CONFIG)
        assert table.timestamps.tolist() == SECONDS
    with pytest.raises(DataError, match=r"row 2 of the frame .*missing value is not a valid time"):
        checked_frame(frame.assign(when=naive.where(naive.index != 2)), CONFIG)


def test_a_date_is_the_beginning_of_its_day():
    days = pl.Series([dt.date(1970, 1, 2)] * 24)
    table, _ = checked_frame(pl.DataFrame({**GOOD, "when": days}), CONFIG)
    assert set(table.timestamps.tolist()) == {86400}


def test_categories_are_text_and_whole_floats_are_integers():
    frame = pl.DataFrame(GOOD).with_columns(
        pl.format("p{}", "who").cast(pl.Categorical).alias("who"), pl.col("what").cast(pl.Float64)
    )
    table, _ = checked_frame(frame, CONFIG)
    assert table.user_vocabulary.ids.to_list() == [f"p{n}" for n in range(1, 7)]
    assert table.item_vocabulary.ids.to_list() == [10, 11, 12, 13]


def test_a_column_says_the_parts():
    parts = ["train", "val", "test", "train"] * 6
    config = FrameConfig(columns=COLUMNS.model_copy(update={"part": "of"}))
    table, _ = checked_frame(pl.DataFrame({**GOOD, "of": parts}), config)
    assert {name: len(rows) for name, rows in table.parts.items()} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }
    with pytest.raises(DataError, match=r"row 1 of the frame .*'dev' is not one of train, val"):
        checked_frame(pl.DataFrame({**GOOD, "of": ["train", "dev"] * 12}), config)


def test_frames_about_users_and_items_are_those_of_files(tmp_path):
    films = pl.DataFrame(
        {"what": [10, 11], "title": ["Fargo (1996)", "No"], "genres": ["Crime|Drama", None]}
    )
    people = pl.DataFrame({"who": [1, 2], "age": [30, None], "gender": ["F", "M"]})
    for name, frame in (("r", pl.DataFrame(GOOD)), ("films", films), ("people", people)):
        frame.write_csv(tmp_path / f"{name}.csv")
    expected = load_ratings(
        CustomFileConfig.model_validate(
            {
                "path": str(tmp_path / "r.csv"),
                "users_path": str(tmp_path / "people.csv"),
                "items_path": str(tmp_path / "films.csv"),
                "columns": COLUMNS.model_dump(),
                "cache": False,
            }
        )
    )
    known = set()
    for make in (pl.DataFrame, as_pandas, as_nullable, as_arrow):
        table, config = checked_frame(
            make(pl.DataFrame(GOOD)), CONFIG, users=make(people), items=make(films)
        )
        assert table.user_features.equals(expected.user_features)
        assert table.item_features.equals(expected.item_features)
        assert config.users
        assert config.items
        known.add(config.fingerprint)
    assert len(known) == 1


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"sku": [1]}, r"the frame of items: no column 'what'; it has 'sku'"),
        ({"what": [10, 10]}, r"the frame of items: item 10 comes twice"),
        ({"what": [10, None]}, r"row 1 of the frame of items \(counted from 0\): a missing value"),
        ({"what": []}, r"the frame of items: no rows"),
        ({"what": [10], "x": pl.Series([object()], dtype=pl.Object)}, r"column 'x' are of no type"),
    ],
)
def test_what_is_wrong_with_a_frame_of_items_is_said(items, message):
    with pytest.raises(DataError, match=message):
        checked_frame(pl.DataFrame(GOOD), CONFIG, items=pl.DataFrame(items))


def test_the_same_frame_is_known_again_and_another_one_refused(kind):
    frame = pl.DataFrame(GOOD)
    first, known = checked_frame(frame, CONFIG)
    again, same = checked_frame(kind(frame), known)
    assert same_tables(first, again)
    assert same == known
    with pytest.raises(DataError, match=r"another frame: it had 24 rows, and this one has 23"):
        checked_frame(kind(frame.head(23)), known)
    with pytest.raises(DataError, match=r"another frame: values, or the order of rows, differ"):
        checked_frame(kind(frame.reverse()), known)
    with pytest.raises(DataError, match=r"trained without a frame of items \(items=\)"):
        checked_frame(frame, known, items=pl.DataFrame({"what": [10]}))


def test_a_config_alone_has_no_ratings_and_says_what_to_pass(run_config):
    _, known = checked_frame(pl.DataFrame(GOOD), CONFIG)
    whole = run_config().model_dump()
    saved = validated({**whole, "data": known.model_dump()})
    assert saved.data == known
    with pytest.raises(
        DataError,
        match=r"in Python, on a frame of 24 rows with the columns who, what, stars, when, .*"
        r"lightning_collab\.load\(<run directory>\)\.evaluate\(frame\)",
    ):
        load_ratings(saved.data)


def test_zone_of_a_python_datetime_in_a_pandas_column():
    pandas = pytest.importorskip("pandas")
    berlin = [moment.replace(tzinfo=ZoneInfo("Europe/Berlin")) for moment in MOMENTS]
    frame = pandas.DataFrame({**GOOD, "when": pandas.Series(berlin, dtype=object)})
    table, _ = checked_frame(frame, CONFIG)
    assert table.timestamps.tolist() == [second - 3600 for second in SECONDS]


FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", None]})


def test_columns_are_chosen_and_named_anew():
    chosen = {"ours": "b", "again": "b"}
    expected = pl.DataFrame({"ours": ["x", None], "again": ["x", None]})
    assert read_frame(FRAME, "it", chosen).equals(expected)
    assert read_frame(FRAME.lazy(), "it", chosen).equals(expected)
    assert read_frame(FRAME, "it").equals(FRAME)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], r"^it must be a polars DataFrame .* pyarrow Table, not a builtins\.list; polars"),
        (None, r"not a builtins\.NoneType"),
        (pl.Series([1]), r"not a polars\..*Series"),
        ({"user": [1]}, r"not a builtins\.dict"),
        ("ratings.csv", r"^'ratings\.csv' is a path.*RatingDataModule\.from_file reads files"),
        (Path("ratings.csv"), r"is a path"),
        (pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64)), r"^it cannot be computed"),
        (pl.DataFrame(), r"^it: no column 'a' \(ours=\"a\"\); it has no columns"),
    ],
)
def test_what_is_no_frame_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        read_frame(given, "it", {"ours": "a"})


@pytest.mark.parametrize("kind", ["Table", "RecordBatch", "RecordBatchReader"])
def test_whatever_streams_arrow_is_a_frame(kind):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1, 2], "b": ["x", None]})
    (batch,) = table.to_batches()
    frames = {"Table": table, "RecordBatch": batch, "RecordBatchReader": table.to_reader()}
    assert read_frame(frames[kind], "it").equals(FRAME)


def test_a_column_that_is_there_twice_is_refused():
    pyarrow, pandas = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    with pytest.raises(DataError, match=r"it: the column 'a' is there 2 times"):
        read_frame(pandas.DataFrame([[1, 2]], columns=["a", "a"]), "it", {"ours": "a"})
    with pytest.raises(DataError, match=r"it cannot be read: .*"):
        read_frame(pyarrow.table([[1], [2]], names=["a", "a"]), "it", {"ours": "a"})


def test_labels_of_pandas_need_not_be_text_and_its_index_does_not_matter():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, "x"], [2, "y"]], index=[7, 7])
    assert read_frame(frame, "it", {"ours": "1"}).to_dict(as_series=False) == {"ours": ["x", "y"]}

    class Own(pandas.DataFrame):
        pass

    assert read_frame(Own(frame), "it", {"ours": "1"})["ours"].to_list() == ["x", "y"]


def test_each_type_of_pandas_has_its_counterpart():
    pandas = pytest.importorskip("pandas")
    day = dt.datetime(2020, 1, 1)
    columns = {
        "int32": (pandas.Series([1, 2], dtype="int32"), [1, 2]),
        "float": (pandas.Series([1.5, None]), [1.5, None]),
        "whole, one missing": (pandas.Series([1, None]), [1, None]),
        "Int64": (pandas.Series([2**62 + 1, None], dtype="Int64"), [2**62 + 1, None]),
        "Float32": (pandas.Series([0.5, None], dtype="Float32"), [0.5, None]),
        "boolean": (pandas.Series([True, None], dtype="boolean"), [True, None]),
        "bool": (pandas.Series([True, False]), [True, False]),
        "string": (pandas.Series(["a", None], dtype="string"), ["a", None]),
        "object": (pandas.Series(["a", float("nan")], dtype=object), ["a", None]),
        "numbers": (pandas.Series([1, 2.5], dtype=object), [1.0, 2.5]),
        "lists": (pandas.Series([["a"], None]), [["a"], None]),
        "decimals": (pandas.Series([Decimal("1.5"), None]), [Decimal("1.5"), None]),
        "category": (pandas.Series(["a", None], dtype="category"), ["a", None]),
        "numbers as category": (pandas.Series([3, 4], dtype="category"), [3, 4]),
        "datetime": (pandas.Series([day, None]), [day, None]),
        "nothing": (pandas.Series([None, None], dtype=object), [None, None]),
    }
    read = read_frame(pandas.DataFrame({name: each for name, (each, _) in columns.items()}), "it")
    for name, (_, expected) in columns.items():
        assert read[name].to_list() == expected, name
    assert read.schema["whole, one missing"] == pl.Int64


def test_arrow_types_of_pandas_have_theirs():
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    day = dt.datetime(2020, 1, 1)
    columns = {
        "int64[pyarrow]": [2**62 + 1, None],
        "double[pyarrow]": [1.5, None],
        "string[pyarrow]": ["a", None],
        "bool[pyarrow]": [True, None],
        "timestamp[us][pyarrow]": [day, None],
    }
    frame = pandas.DataFrame(
        {name: pandas.Series(values, dtype=name) for name, values in columns.items()}
    )
    assert read_frame(frame, "it").to_dict(as_series=False) == columns


def test_values_of_several_types_are_refused_with_the_cure():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"sku": ["a", 7, None]})
    with pytest.raises(
        DataError,
        match=r"it: the values of column 'sku' .*one, such as frame\['sku'\]\.astype\('string'\)",
    ):
        read_frame(frame, "it")
    frame["sku"] = frame["sku"].astype("string")
    assert read_frame(frame, "it")["sku"].to_list() == ["a", "7", None]


def test_pandas_is_read_without_pyarrow():
    pytest.importorskip("pandas")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import pandas\n"
        "from lightning_collab.data.sources.frame import read_frame\n"
        "frame = pandas.DataFrame({'a': ['x', None], 'b': pandas.to_datetime(['2020', None])})\n"
        "print(read_frame(frame, 'it').schema, [*map(str, read_frame(frame, 'it')['a'])])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'a', String), ('b', Datetime" in done.stdout
    assert "['x', 'None']" in done.stdout


def test_neither_pandas_nor_pyarrow_is_imported_for_a_frame_of_polars():
    code = (
        "import sys, polars\n"
        "from lightning_collab.data.sources.frame import read_frame\n"
        "read_frame(polars.DataFrame({'a': [1]}), 'it')\n"
        "print({'pandas', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-3, 9)), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.floats()), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.datetimes()), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.decimals(places=2, min_value=-9, max_value=9)), min_size=3)
    .filter(any)
    .map(lambda values: (values * 3)[:3]),
    st.sampled_from(
        [
            [2**63, 2**64 - 1, 0],
            [b"a", b"b", b"c"],
            [[1], [2], []],
            [{"a": 1}, None, {"a": 2}],
            [None, None, None],
            [dt.timedelta(1), None, dt.timedelta(2)],
            [dt.time(1), dt.time(2), dt.time(3)],
            [dt.date(2020, 1, 1)] * 3,
        ]
    ),
)


@settings(max_examples=150)
@given(
    columns=st.lists(VALUES, min_size=4, max_size=4),
    library=st.sampled_from(["polars", "pandas", "objects", "arrow"]),
    duplicates=st.sampled_from(["error", "last", "mean"]),
    rating_range=st.sampled_from([None, (1.0, 5.0)]),
    timed=st.booleans(),
)
def test_any_frame_ends_in_a_table_or_in_one_of_our_errors(
    columns, library, duplicates, rating_range, timed
):
    frame = pl.DataFrame(dict(zip(("user", "item", "rating", "when"), columns, strict=True)))
    if library == "arrow":
        pytest.importorskip("pyarrow")
        frame = frame.to_arrow()
    elif library != "polars":
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(frame.to_dict(as_series=False))
        frame = frame.astype(object) if library == "objects" else frame
    config = FrameConfig(
        columns=FrameColumnsConfig(timestamp="when" if timed else None),
        duplicates=duplicates,
        rating_range=rating_range,
    )
    try:
        table, known = checked_frame(frame, config)
    except DataError:
        return
    low, high = table.rating_range
    assert known.rows == 3
    assert low < high
    assert ((table.ratings >= low) & (table.ratings <= high)).all()
    assert table.users.min() > 0
    assert table.items.min() > 0
