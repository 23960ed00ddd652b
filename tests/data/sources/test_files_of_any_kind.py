"""Whatever is in a file: the right table, or our error with file and line; never another one."""

import csv
import gzip
import io

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightning_collab.config.data import ColumnsConfig, CustomFileConfig
from lightning_collab.data.sources import custom_file
from lightning_collab.errors import DataError

CONFIG = CustomFileConfig(
    name="csv",
    batch_size=64,
    cache=False,
    path="ratings.csv",
    val_path=None,
    test_path=None,
    users_path=None,
    items_path=None,
    format=None,
    delimiter=",",
    header=True,
    encoding="utf8",
    columns=ColumnsConfig(user="user", item="item", rating="rating", timestamp=None, part=None),
    ids="auto",
    rating_range=None,
    timestamp_unit="s",
    duplicates="last",
)
DELIMITERS = st.sampled_from(",;\t|")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the files, which are written again and again."""
    return tmp_path_factory.mktemp("files")


def load(folder, content, name="ratings.csv", **settings):
    path = folder / name
    path.write_bytes(content)
    return custom_file.load(CONFIG.model_copy(update={"path": str(path), **settings}))


def loads_or_refuses(folder, content, **settings):
    """A table that makes sense, or a refusal that names the file."""
    try:
        table = load(folder, content, **settings)
    except DataError as refused:
        return str(refused).startswith(str(folder)) or pytest.fail(str(refused))
    assert len(table) > 0
    assert len(table.users) == len(table.items) == len(table.ratings)
    assert min(table.users) > 0
    assert min(table.items) > 0
    low, high = table.rating_range
    assert all(low <= rating <= high for rating in table.ratings.tolist())
    return True


SCRAPS = st.sampled_from(
    [
        *("user", "item", "rating", ",", ",", ",", "\n", "\n", "\r\n", "\r", '"', '""', "'", ";"),
        *("1", "2", "3.5", "0", "-1", "+2", "007", "1e3", "1e400", "nan", "inf", "-inf", "null"),
        *("9223372036854775807", "9223372036854775808", "18446744073709551616", "0x10", "1_000"),
        *("\ufeff", "\x00", "\x1a", " ", "\t", "é", "\u2028", "\x85", "😀", "=1+1", "#"),
    ]
)


@given(st.lists(SCRAPS, max_size=60).map("".join), st.booleans())
@example("user,item,rating\n\n\n1,1,3\n", True)
@settings(max_examples=40)
def test_any_text(folder, text, header):
    columns = CONFIG.columns
    if not header:
        columns = ColumnsConfig(user=1, item=2, rating=3, timestamp=None, part=None)
    assert loads_or_refuses(folder, text.encode(), header=header, columns=columns)


@given(st.lists(SCRAPS, max_size=40).map("".join))
@settings(max_examples=40)
def test_any_lines_below_a_good_header(folder, text):
    assert loads_or_refuses(folder, b"user,item,rating\n1,1,3\n2,1,4\n" + text.encode())


@given(st.binary(max_size=200), st.sampled_from(["utf8", "latin-1"]))
@settings(max_examples=40)
def test_any_bytes(folder, content, encoding):
    assert loads_or_refuses(folder, content, encoding=encoding)
    assert loads_or_refuses(folder, b"user,item,rating\n1,1,3\n" + content, encoding=encoding)


@given(st.binary(max_size=100), st.integers(0, 1000))
@settings(max_examples=40)
def test_any_bytes_and_any_part_of_a_parquet_file(folder, content, length):
    buffer = io.BytesIO()
    pl.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [3.0, 4.0]}).write_parquet(buffer)
    whole = buffer.getvalue()
    assert loads_or_refuses(folder, content, format="parquet")
    assert loads_or_refuses(folder, b"PAR1" + content + b"PAR1", format="parquet")
    assert loads_or_refuses(folder, whole[:length], format="parquet")
    assert loads_or_refuses(folder, whole[length:], format="parquet")


@given(st.binary(max_size=100), st.integers(0, 60))
@settings(max_examples=40)
def test_any_gzip(folder, content, place):
    whole = gzip.compress(b"user,item,rating\n1,1,3\n2,1,4\n", mtime=0)
    assert loads_or_refuses(folder, whole[:place] + content + whole[place + len(content) :])


WHOLE_IDS = st.integers(0, 2**63 - 1)
TEXT_IDS = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=6
)
RATINGS = st.integers(-20, 20).map(lambda n: n / 4)


@st.composite
def written(draw, ids, kind):
    """Ratings, and a file that says them, with its settings."""
    pairs = draw(st.lists(st.tuples(ids, ids), min_size=2, max_size=8, unique=True))
    other = [draw(ids.filter(lambda i, known=known: i != known)) for known in pairs[0]]
    pairs = [*pairs, (other[0], other[1])]
    ratings = [draw(RATINGS) for _ in pairs]
    ratings[0], ratings[1] = -6.0, 6.0
    rows = list(dict.fromkeys(pairs))
    rows = [(user, item, rating) for (user, item), rating in zip(rows, ratings, strict=False)]
    order = draw(st.permutations(["user", "item", "rating", "other"]))
    delimiter = draw(DELIMITERS)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL]))
    quoting = csv.QUOTE_ALL if kind == "string" else quoting
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(order)
    for user, item, rating in rows:
        if kind == "integer" and draw(st.booleans()):
            text.write(end)
        values = {"user": user, "item": item, "rating": rating, "other": draw(TEXT_IDS)}
        writer.writerow([values[column] for column in order])
    content = text.getvalue()
    if draw(st.booleans()):
        content = content.removesuffix(end)
    encoded = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + content.encode()
    packed = draw(st.sampled_from([lambda c: c, gzip.compress]))
    said = draw(st.sampled_from(["auto", kind])) if kind == "integer" else kind
    return rows, packed(encoded), {"delimiter": delimiter, "ids": said}


@given(st.data(), st.sampled_from(["integer", "string"]))
@settings(max_examples=40)
def test_a_good_file_in_any_clothes_is_the_right_table(folder, data, kind):
    rows, content, settings = data.draw(written(WHOLE_IDS if kind == "integer" else TEXT_IDS, kind))
    table = load(folder, content, **settings)
    users = table.user_vocabulary.decode(table.users).to_list()
    items = table.item_vocabulary.decode(table.items).to_list()
    assert list(zip(users, items, table.ratings.tolist(), strict=True)) == rows


@given(
    st.integers(0, 19),
    st.sampled_from(["user", "item", "rating"]),
    st.sampled_from(["", "x", "1.5.2", "1e999", "nan", "-inf", " ", "0x1", "1,2", "é"]),
    st.booleans(),
)
@settings(max_examples=40)
def test_one_bad_value_is_named_with_its_line(folder, line, column, bad, blank_lines):
    rows = [{"user": str(n % 5), "item": str(n), "rating": str(1 + n % 3)} for n in range(20)]
    rows[line][column] = f'"{bad}"'
    end = "\n\n" if blank_lines else "\n"
    text = end.join(["user,item,rating", *(",".join(row.values()) for row in rows)])
    number = 2 + line * (2 if blank_lines else 1) + blank_lines
    with pytest.raises(
        DataError, match=rf"ratings\.csv, line {number}: .* is not a valid {column}"
    ):
        load(folder, text.encode(), ids="integer")
