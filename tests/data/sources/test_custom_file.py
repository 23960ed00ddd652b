"""Your own CSV and Parquet files, good and bad."""

import gzip

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_collab.data.sources import custom_file, load_ratings
from lightning_collab.errors import ConfigError, DataError

GOOD = "who,what,stars,when\n" + "".join(
    f"{user},{item},{1 + (user * item) % 5},{10**9 + item}\n"
    for user in range(1, 7)
    for item in range(10, 14)
)
NAMES = (
    "data.columns.user=who",
    "data.columns.item=what",
    "data.columns.rating=stars",
    "data.columns.timestamp=when",
)


@pytest.fixture
def load(tmp_path, run_config):
    """The table of a file with some content, read as a run would read it."""

    def read(content, *overrides, name="ratings.csv", names=NAMES):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        config = run_config("data=csv", f"data.path={path}", "data.cache=false", *names, *overrides)
        return load_ratings(config.data)

    return read


def columns(table):
    users = table.user_vocabulary.decode(table.users).to_list()
    items = table.item_vocabulary.decode(table.items).to_list()
    return list(zip(users, items, table.ratings.tolist(), strict=True))


def test_columns_are_found_by_their_names(load):
    table = load(GOOD)
    expected = [line.split(",") for line in GOOD.splitlines()[1:]]
    assert columns(table) == [(int(u), int(i), float(r)) for u, i, r, _ in expected]
    assert table.timestamps.tolist() == [int(line[3]) for line in expected]
    assert table.rating_range == (1.0, 5.0)
    assert table.name == "ratings.csv"


def test_the_same_ratings_in_other_clothes(load, tmp_path):
    expected = columns(load(GOOD))
    semicolons = GOOD.replace(",", ";")
    headless = GOOD.split("\n", 1)[1]
    positions = [f"data.columns.{ours}={n}" for n, ours in enumerate(("user", "item", "rating"), 1)]
    frame = pl.read_csv(GOOD.encode())
    frame.write_parquet(tmp_path / "file.parquet")
    parquet = (tmp_path / "file.parquet").read_bytes()
    frame.with_columns(pl.from_epoch("when"), pl.col("who").cast(pl.Float64)).write_parquet(
        tmp_path / "other.parquet"
    )
    others = (tmp_path / "other.parquet").read_bytes()
    assert columns(load(semicolons, 'data.delimiter=";"')) == expected
    assert columns(load(headless, "data.header=false", *positions, names=())) == expected
    assert columns(load(gzip.compress(GOOD.encode()), name="ratings.csv.gz")) == expected
    assert columns(load(b"\xef\xbb\xbf" + GOOD.encode())) == expected
    assert columns(load(GOOD.replace("\n", "\r\n"))) == expected
    assert columns(load(GOOD.replace("\n", "\n\n"))) == expected
    assert columns(load(parquet, name="ratings.parquet")) == expected
    table = load(others, name="ratings.parquet")
    assert columns(table) == expected
    assert table.timestamps.tolist() == load(GOOD).timestamps.tolist()


def test_ids_that_are_text_stay_text(load):
    table = load(GOOD.replace("\n1,", "\n007,"))
    assert table.user_vocabulary.ids.to_list() == ["007", "2", "3", "4", "5", "6"]
    table = load(GOOD, "data.ids=string")
    assert table.item_vocabulary.ids.to_list() == ["10", "11", "12", "13"]
    table = load('who,what,stars\n"a,b",x,1\nc,"y",2\n', "data.columns.timestamp=null")
    assert columns(table) == [("a,b", "x", 1.0), ("c", "y", 2.0)]


def test_milliseconds_are_turned_into_seconds(load):
    table = load(
        GOOD.replace(",10000", ",10000").replace("\n", "000\n"),
        "data.timestamp_unit=ms",
        names=(*NAMES[:3], "data.columns.timestamp=when000"),
    )
    assert table.timestamps.tolist() == load(GOOD).timestamps.tolist()


@pytest.mark.parametrize(("policy", "expected"), [("last", 2.0), ("mean", 3.0)])
def test_several_ratings_of_one_item_become_one(load, policy, expected):
    # The later one in time is the earlier one in the file.
    content = "who,what,stars,when\n1,1,5,100\n2,2,1,100\n1,1,2,300\n1,1,2,200\n".replace(
        "1,1,5,100", "1,1,5,50"
    )
    table = load(content, f"data.duplicates={policy}")
    assert columns(table) == [(2, 2, 1.0), (1, 1, expected)]
    assert table.timestamps.tolist() == [100, 300]


def test_the_parts_of_a_column_and_of_files_are_the_same(load, tmp_path):
    parts = ["train", "val", "test", "train"] * 6
    head, *lines = GOOD.splitlines()
    content = f"{head},part\n" + "".join(
        f"{line},{part}\n" for line, part in zip(lines, parts, strict=True)
    )
    table = load(content, "data.columns.part=part")
    for part in ("val", "test"):
        chosen = [line for line, name in zip(lines, parts, strict=True) if name == part]
        (tmp_path / f"{part}.csv").write_text("\n".join([head, *chosen]))
    rest = [line for line, name in zip(lines, parts, strict=True) if name == "train"]
    other = load(
        "\n".join([head, *rest]),
        f"data.val_path={tmp_path / 'val.csv'}",
        f"data.test_path={tmp_path / 'test.csv'}",
    )
    for part in ("train", "val", "test"):
        one = [columns(table)[row] for row in table.parts[part]]
        assert one == [columns(other)[row] for row in other.parts[part]]
        assert len(one) == parts.count(part)


def test_what_other_files_say_of_users_and_items(load, tmp_path):
    (tmp_path / "films.csv").write_text(
        'what,title,genres\n10,"Fargo (1996)",Crime|Drama\n11,Untitled,\n'
    )
    (tmp_path / "people.csv").write_text("who,age,gender\n1,30,F\n2,,M\n")
    table = load(
        GOOD,
        f"data.items_path={tmp_path / 'films.csv'}",
        f"data.users_path={tmp_path / 'people.csv'}",
    )
    assert table.item_features.to_dicts() == [
        {"item": 10, "title": "Fargo (1996)", "genres": ["Crime", "Drama"], "year": 1996},
        {"item": 11, "title": "Untitled", "genres": [], "year": None},
    ]
    assert table.user_features["age"].to_list() == [30, None]


def test_several_files_say_something_of_an_item(load, tmp_path):
    (tmp_path / "films.csv").write_text("what,title\n10,Fargo (1996)\n12,New (2000)\n")
    (tmp_path / "prices.csv").write_text("what,price\n11,3.5\n10,2\n")
    films, prices = tmp_path / "films.csv", tmp_path / "prices.csv"
    table = load(GOOD, f"data.items_path=[{films},{prices}]")
    assert table.item_features.to_dicts() == [
        {"item": 10, "title": "Fargo (1996)", "year": 1996, "price": 2.0},
        {"item": 12, "title": "New (2000)", "year": 2000, "price": None},
        {"item": 11, "title": None, "year": None, "price": 3.5},
    ]
    one = load(GOOD, f"data.items_path=[{films}]")
    assert one.item_features.equals(load(GOOD, f"data.items_path={films}").item_features)
    prices.write_text("what,title\n10,Fargo\n")
    with pytest.raises(DataError, match=r"prices\.csv: column 'title' is also in another file"):
        load(GOOD, f"data.items_path=[{films},{prices}]")


def test_ids_that_are_text_are_text_in_other_files_too(load, tmp_path):
    (tmp_path / "people.csv").write_text("who,age\n007,40\n2,30\n")
    table = load(GOOD.replace("\n1,", "\n007,"), f"data.users_path={tmp_path / 'people.csv'}")
    assert table.user_features["user"].to_list() == ["007", "2"]


HEAD = "who,what,stars,when\n"
ONE = "1,1,3,100\n2,2,4,100\n"


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        ("", (), r"ratings\.csv: the file is empty"),
        ("\n\n", (), r"ratings\.csv: the file is empty"),
        (HEAD, (), r"ratings\.csv: no rows below the header"),
        (HEAD + "\n\n", (), r"ratings\.csv: no rows, only blank lines"),
        (
            "who,what,when\n1,2,3\n",
            (),
            r"no column 'stars' \(data\.columns\.rating\); it has 'who'",
        ),
        (
            GOOD.replace(",", ";"),
            ("data.delimiter=comma",),
            r"no column 'who'.*Is the delimiter a semicolon\? Then set data\.delimiter=semicolon$",
        ),
        (
            HEAD + ONE + "1,2,good,100\n",
            (),
            r"line 4: 'good' is not a valid rating \(1 such line\)",
        ),
        (HEAD + ONE + "1,2,nan,100\n\n3,3,inf,1\n", (), r"line 4: 'nan' is not .* \(2 such lines"),
        (HEAD + ONE + "1,2,,100\n", (), r"line 4: '' is not a valid rating"),
        (HEAD + ONE + "1,2\n", (), r"line 4: '' is not a valid rating"),
        (HEAD + ONE + "1,2,3,100,5\n", (), r"line 4: 5 values where the first line has 4"),
        (
            HEAD + ONE + "1,2,6,100\n",
            ("data.rating_range=[1,5]",),
            r"line 4: '6' is outside the scale of 1 to 5 \(1 such",
        ),
        (HEAD + "\n" + ONE + "-1,2,3,100\n", (), r"line 5: '-1' is not a valid user: .*negative"),
        (
            HEAD + ONE + f"1,{10**30},3,100\n",
            ("data.ids=integer",),
            rf"line 4: '{10**30}' is not a valid item",
        ),
        (HEAD + ONE + "x,2,3,100\n", ("data.ids=integer",), r"line 4: 'x' is not a valid user"),
        (HEAD + ONE + "a,,3,100\n", (), r"line 4: '' is not a valid item"),
        (
            HEAD + ONE + "1,1,5,100\n",
            (),
            r"1 ratings .*user 1, item 1\); set data\.duplicates=last",
        ),
        (HEAD + ONE + f"1,2,3,{10**12}\n", (), r"line 4: .*milliseconds.*data\.timestamp_unit=ms"),
        (HEAD + "1,1,3,100\n1,2,4,100\n", (), r"all 2 ratings are of one user"),
        (HEAD + "1,1,3,100\n2,1,4,100\n", (), r"all 2 ratings are of one item"),
        (HEAD + "1,1,3,100\n2,2,3,100\n", (), r"every rating is 3, .*data\.rating_range"),
        (
            (HEAD + ONE).encode() + "3,ü,3,100\n".encode("latin-1"),
            ("data.ids=string", "data.encoding=utf8"),
            r"line 4: the text is not utf8.*data\.encoding=auto",
        ),
        (gzip.compress(GOOD.encode(), mtime=0)[:-9], (), r"cut short"),
        ((HEAD + ONE).encode("utf-16")[2:], (), r"ratings\.csv: this is not text"),
        (b"PAR1 is not enough", ("data.format=parquet",), r"not a complete Parquet file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(load, content, overrides, message):
    with pytest.raises(DataError, match=message):
        load(content, *overrides)


def test_a_missing_file_is_named(run_config, tmp_path):
    config = run_config("data=csv", f"data.path={tmp_path}/none.csv")
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        load_ratings(config.data)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"who": [1, None], "what": [1, 2], "stars": [1.0, 2.0]}, r"row 2: '' is not a valid user"),
        ({"who": [1, 2], "what": [1, 2], "stars": [1.0, None]}, r"row 2: '' is not a valid rating"),
        ({"who": [1.5, 2], "what": [1, 2], "stars": [1, 2]}, r"row 1: 1\.5 is not a valid user"),
        (
            {"who": [[1], [2]], "what": [1, 2], "stars": [1, 2]},
            r"has an unsuitable type: user is List",
        ),
        ({"who": [1, 2], "what": [1, 2], "stars": [True, False]}, r"type: rating is Boolean"),
        ({"who": [], "what": [], "stars": []}, r"no rows"),
    ],
)
def test_what_is_wrong_with_a_parquet_file_is_said(load, tmp_path, frame, message):
    pl.DataFrame(frame).write_parquet(tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    with pytest.raises(DataError, match=message):
        load(content, "data.columns.timestamp=null", name="ratings.parquet")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), r"data\.path: set data\.path="),
        (("data.path=x", "data.rating_range=[5,1]"), r"data\.rating_range: must be \[lowest"),
        (("data.path=x", "data.header=false"), r"data\.columns\.user must be a position"),
        (
            ("data.path=x", "data.delimiter='::'"),
            r"data\.delimiter: must be auto, one character or one of tab, comma, semi",
        ),
        (
            ("data.path=x", "data.delimiter=comma", "data.decimal=comma"),
            r"data\.decimal=comma and data\.delimiter=comma",
        ),
        (
            ("data.path=x", "data.columns.user=a", "data.columns.item=a"),
            r"data\.columns\.user and data\.columns\.item are both 'a'",
        ),
        (
            ("data.path=x", "data.columns.rating=null", "data.missing=[-1]"),
            r"data\.missing is about ratings, .*set data\.missing=\[\]",
        ),
        (("data.path=x", "data.columns.user=0"), r"data\.columns\.user"),
        (
            ("data.path=x", "data.columns.timestamp=null", "split=temporal"),
            r"split=temporal needs timestamps",
        ),
        (
            ("data.path=x", "data.columns.part=null", "split=predefined"),
            r"split=predefined: data=csv does not say",
        ),
        (
            ("data.path=x", "data.columns.rating=null", "data.rating_range=[1,5]"),
            r"data\.rating_range is about ratings, but data\.columns\.rating=null",
        ),
        (
            ("data.path=x", "data.columns.rating=null", "data.min_rating=3"),
            r"data\.min_rating is about ratings, but data\.columns\.rating=null",
        ),
        (("data.path=x", "data.k_core=0"), r"data\.k_core"),
        (
            ("data.path=x", "data.columns.part=p", "data.test_path=y"),
            r"both name the parts; remove one",
        ),
    ],
)
def test_a_config_that_cannot_be_is_refused_before_the_file_is_read(run_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_config("data=csv", *overrides)


CELLS = st.one_of(
    st.integers(-3, 9).map(str),
    st.sampled_from(["", "nan", "inf", "-0", "1e3", "1e400", "0x1", " 2", "2 ", '"', '"3"', "'"]),
    st.sampled_from(["a", "é", "\x00", "9" * 40, "true", "2020-01-01", "\ufeff", "1.0", "::", ";"]),
    st.text(max_size=3),
)
ROWS = st.lists(CELLS, min_size=0, max_size=6).map(",".join)
TEXTS = st.builds(
    lambda head, rows, end: "\n".join([*head, *rows]) + end,
    st.sampled_from([["who,what,stars,when"], ["who,what,stars"], [], ["who"], ["who,who,stars"]]),
    st.lists(ROWS, max_size=6),
    st.sampled_from(["", "\n", "\r\n", "\n\n"]),
)
CONTENTS = st.one_of(
    TEXTS.map(lambda text: text.encode(errors="surrogatepass")),
    TEXTS.map(lambda text: text.encode("latin-1", errors="replace")),
    TEXTS.map(lambda text: gzip.compress(text.encode(errors="surrogatepass"))),
    st.builds(
        lambda text, cut: gzip.compress(text.encode(errors="surrogatepass"))[:cut],
        TEXTS,
        st.integers(0, 40),
    ),
    st.binary(max_size=60),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=CONTENTS, data=st.data())
def test_any_file_ends_in_a_table_or_in_one_of_our_errors(tmp_path, run_config, content, data):
    config = fuzzed_config(run_config, tmp_path, data)
    (tmp_path / "fuzz.csv").write_bytes(content)
    try:
        table = custom_file.load(config)
    except DataError:
        return
    low, high = table.rating_range
    assert len(table) > 0
    assert low < high
    assert ((table.ratings >= low) & (table.ratings <= high)).all()
    assert table.users.min() > 0
    assert table.items.min() > 0


COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-3, 9)), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.floats()), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.datetimes()), min_size=3, max_size=3),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=3, max_size=3),
    st.sampled_from(
        [
            pl.Series([1, 2, 3], dtype=pl.UInt64) + 2**63,
            pl.Series([1, 2, 3], dtype=pl.Decimal(10, 2)),
            pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            pl.Series([b"a", b"b", b"c"]),
            pl.Series([[1], [2], []]),
            pl.Series([{"a": 1}, None, {"a": 2}]),
            pl.Series([None, None, None]),
            pl.Series([1, 2, 3]).cast(pl.Duration("us")),
            pl.Series([1, 2, 3]).cast(pl.Time),
            pl.Series([1, 2, 3]).cast(pl.Date),
        ]
    ),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(columns=st.lists(COLUMNS, min_size=4, max_size=4), data=st.data())
def test_any_parquet_file_ends_in_a_table_or_in_one_of_our_errors(
    tmp_path, run_config, columns, data
):
    config = fuzzed_config(run_config, tmp_path, data).model_copy(update={"format": "parquet"})
    named = dict(zip(("who", "what", "stars", "when"), columns, strict=True))
    pl.DataFrame(named, strict=False).write_parquet(tmp_path / "fuzz.csv")
    try:
        table = custom_file.load(config)
    except DataError:
        return
    assert len(table) > 0
    assert table.rating_range[0] < table.rating_range[1]


def fuzzed_config(run_config, folder, data):
    global BASE
    if BASE is None:
        BASE = run_config("data=csv", "data.path=x", *NAMES).data
    change = {
        "path": str(folder / "fuzz.csv"),
        "ids": data.draw(st.sampled_from(["auto", "integer", "string"])),
        "encoding": data.draw(st.sampled_from(["utf8", "latin-1"])),
        "format": data.draw(st.sampled_from([None, None, None, "parquet"])),
        "duplicates": data.draw(st.sampled_from(["error", "last", "mean"])),
        "rating_range": data.draw(st.sampled_from([None, (1.0, 5.0)])),
    }
    if data.draw(st.booleans()):
        change["columns"] = BASE.columns.model_copy(update={"timestamp": None})
    return BASE.model_copy(update=change)


BASE = None
