"""Frames of several libraries as polars, and whatever else may be passed in their place."""

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.config.data import FrameColumnsConfig, FrameConfig
from lightning_collab.data.sources import checked_frame
from lightning_collab.data.sources.frame import read_frame
from lightning_collab.errors import DataError

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
