"""Files in the shapes that people have: each ends in the right table, or says what to set."""

import gzip
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard

from lightning_collab.config.data import CustomFileConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.sources import custom_file
from lightning_collab.data.splits.by_column import latest_first
from lightning_collab.errors import DataError

RANDOM = np.random.default_rng(7)
USERS, ITEMS = RANDOM.integers(0, 30, 400), RANDOM.integers(0, 25, 400)
FRAME = (
    pl.DataFrame({"user": USERS, "item": ITEMS, "rating": RANDOM.integers(1, 6, 400)})
    .unique(["user", "item"], keep="first", maintain_order=True)
    .with_columns(timestamp=1_500_000_000 + 86_400 * pl.int_range(pl.len()))
)
DAYS = pl.from_epoch("timestamp")
PLAIN = FRAME.drop("timestamp")


def load(path, content=None, **settings):
    if content is not None:
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return custom_file.load(CustomFileConfig(path=str(path), **settings))


def found(table):
    columns = {
        "user": table.user_vocabulary.decode(table.users).to_list(),
        "item": table.item_vocabulary.decode(table.items).to_list(),
        "rating": table.ratings.tolist(),
    }
    if table.timestamps is not None:
        columns["timestamp"] = table.timestamps.tolist()
    return columns


def expected(frame):
    return {name: frame[name].to_list() for name in frame.columns}


def renamed(**names):
    return FRAME.rename(names)


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (FRAME.write_csv(), {}),
        (renamed(user="userId", item="movieId").write_csv(), {}),
        (FRAME.write_csv(separator="\t"), {"delimiter": "tab"}),
        (FRAME.write_csv(separator="\t"), {"delimiter": "\\t"}),
        (
            renamed(
                user="user_id:token", item="item_id:token", rating="rating:float",
                timestamp="timestamp:float",
            ).write_csv(separator="\t"),
            {},
        ),
        (
            renamed(user="u:token", item="i:token").write_csv(separator="\t"),
            {"columns": {"user": "u", "item": "i:token"}},
        ),
        (FRAME.with_columns(DAYS.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(), {}),
        (FRAME.with_columns(DAYS.dt.strftime("%Y-%m-%d %H:%M:%S")).write_csv(separator=";"), {}),
        (
            FRAME.with_columns(DAYS.dt.offset_by("2h").dt.strftime("%FT%T+02:00")).write_csv(),
            {},
        ),
        (
            FRAME.with_columns(DAYS.dt.strftime("%m/%d/%Y %H:%M:%S")).write_csv(),
            {"timestamp_format": "%m/%d/%Y %H:%M:%S"},
        ),
        (FRAME.with_columns(pl.col("timestamp") * 1000).write_csv(), {"timestamp_unit": "ms"}),
        (FRAME.write_csv(include_header=False),
         {"columns": {"user": 1, "item": 2, "rating": 3, "timestamp": 4}}),
        (FRAME.write_csv().encode("utf-16"), {}),
        (gzip.compress(FRAME.write_csv(separator="|").encode()), {}),
        (zstandard.ZstdCompressor().compress(FRAME.write_csv().encode()), {}),
        (FRAME.write_ndjson(), {}),
        (gzip.compress(FRAME.write_ndjson().encode()), {}),
    ],
)  # fmt: skip
def test_the_same_ratings_are_found_in_every_shape(tmp_path, content, settings):
    assert found(load(tmp_path / "ratings", content, **settings)) == expected(FRAME)


def test_decimal_commas_are_found_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    halves = PLAIN.with_columns(pl.col("rating") + 0.5)
    content = halves.write_csv(separator=";").replace(".", ",")
    assert found(load(tmp_path / "a.csv", content)) == expected(halves)
    assert "taken as delimiter semicolon, a header, decimal comma" in caplog.text
    with pytest.raises(DataError, match=r"is not a valid rating .* set data\.decimal=comma"):
        load(tmp_path / "a.csv", decimal="point")
    assert found(load(tmp_path / "a.csv", decimal="comma")) == expected(halves)


def test_a_file_without_a_header_says_where_to_say_the_columns(tmp_path):
    message = (
        r"the first line looks like data and not like names \('\d+', '\d+', '\d', '15\d+'\), so "
        r"that data\.header=false is assumed; .* as data\.columns\.user=1 data\.columns\.item=2 "
        r"data\.columns\.rating=3$"
    )
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", FRAME.write_csv(include_header=False))
    text = "u1\t\tartist 1\t5\nu2\tm\tartist 2\t7\n"
    with pytest.raises(DataError, match=r"data\.columns\.rating=4$"):
        load(tmp_path / "a.tsv", text)


@pytest.mark.parametrize("mark", [-1, 99])
def test_marks_of_no_rating_are_left_out_or_warned_of(tmp_path, caplog, mark):
    marked = PLAIN.with_columns(rating=pl.when(pl.col("user") < 5).then(mark).otherwise("rating"))
    content = marked.write_csv()
    table = load(tmp_path / "a.csv", content)
    assert table.rating_range == (min(mark, 1), max(mark, 5))
    assert f"ratings are {mark}, far from the others (1 to 5)" in caplog.text
    assert f"set data.missing=[{mark}]" in caplog.text
    caplog.clear()
    table = load(tmp_path / "a.csv", missing=(float(mark),), rating_range=(1.0, 5.0))
    assert found(table) == expected(PLAIN.filter(pl.col("user") >= 5))
    assert "far from" not in caplog.text
    of_frame = RatingDataModule.from_frame(marked, missing=[mark])
    assert found(of_frame.table) == found(table)
    with pytest.raises(DataError, match="no row has a rating other than"):
        load(tmp_path / "a.csv", missing=(float(mark), 1.0, 2.0, 3.0, 4.0, 5.0))


def test_one_row_that_is_far_off_does_not_become_the_scale(tmp_path):
    content = PLAIN.write_csv() + "31,26,500\n"
    message = (
        r"a rating is 500, and all others are from 1 to 5\. If it means no rating, set "
        r"data\.missing=\[500\]; if the scale goes so far, set data\.rating_range=\[1,500\]$"
    )
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", content)
    assert load(tmp_path / "a.csv", missing=(500.0,)).rating_range == (1, 5)
    assert load(tmp_path / "a.csv", rating_range=(1.0, 500.0)).rating_range == (1, 500)
    # Plays that are skewed are no slip.
    skewed = PLAIN.with_columns(rating=(pl.int_range(pl.len()) / 40).exp().round(1))
    assert load(tmp_path / "b.csv", skewed.write_csv()).rating_range[1] > 1000


def test_stray_quotes_swallow_no_row(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    lines = [f"u{n % 9}\tArtist {n}\t{1 + n % 5}" for n in range(400)]
    lines[50] = 'u5\t"Heroes\t2'
    lines[90] = 'u6\tHeroes"\t3'
    content = "\n".join(["user\tartist\trating", *lines])
    table = load(tmp_path / "a.tsv", content)
    assert len(table) == 400
    assert '"Heroes' in table.item_vocabulary.ids.to_list()
    assert "line 52: quotes enclose whole lines" in caplog.text
    assert len(load(tmp_path / "a.tsv", quote='"')) == 360


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('21,12,good,"x\ny"', r"line 602: 'good' is not a valid rating"),
        ('21,12,3,"x\ny",extra', r"line 602: 5 values where the first line has 4"),
        ('21,12,3,"x" y', r"line 602: text follows .* data\.quote=null"),
    ],
)
def test_the_line_of_the_file_is_named_after_quoted_line_breaks(tmp_path, bad, message):
    good = [f'{n % 9},{n},{1 + n % 5},"line one\nline, two"' for n in range(300)]
    content = "\n".join(["user,item,rating,review", *good, bad, *good])
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", content)


@pytest.mark.parametrize("place", [10, 1400])
@pytest.mark.parametrize("other", ["007", "+7", "x7"])
def test_an_id_is_never_silently_another(tmp_path, caplog, place, other):
    caplog.set_level(logging.INFO)
    users = [str(n % 40) for n in range(1500)]
    users[place] = other
    rows = "\n".join(f"{user},{n // 40},{1 + n % 5}" for n, user in enumerate(users))
    table = load(tmp_path / "a.csv", f"user,item,rating\n{rows}\n", duplicates="last")
    assert table.user_vocabulary.decode(table.users).to_list() == users
    assert f"ids of users are taken as text, since there is '{other}'" in caplog.text
    assert table.item_vocabulary.ids.dtype == pl.Int64
    if other != "x7":
        assert 7 in load(tmp_path / "a.csv", ids="integer", duplicates="last").user_vocabulary.ids


def test_empty_ids_are_refused_with_advice_that_helps(tmp_path):
    content = PLAIN.write_csv() + ",3,4\n,4,4\n"
    message = (
        rf"line {len(PLAIN) + 2}: '' is not a valid user \(2 such lines\)\. A row without user"
    )
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", content)
    PLAIN.with_columns(user=pl.when(pl.col("user") > 3).then("user")).write_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match=r"is not a valid user .*remove such rows from the file"):
        load(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_of_parts_is_one_table(tmp_path, kind):
    folder = tmp_path / "ratings"
    folder.mkdir()
    for number, part in enumerate(PLAIN.iter_slices(100)):
        getattr(part, f"write_{kind}")(folder / f"part-0000{number}.{kind}")
    (folder / "_SUCCESS").touch()
    assert found(load(folder)) == expected(PLAIN)
    assert found(load(folder / "part-*")) == expected(PLAIN)
    assert custom_file.files(CustomFileConfig(path=str(folder))) == sorted(folder.glob("part*"))
    if kind == "csv":
        (folder / "part-00001.csv").write_text("user,item,rating\n1,2,x\n")
        with pytest.raises(DataError, match=r"part-00001\.csv, line 2: 'x' is not a valid rating"):
            load(folder)


def test_ids_of_parts_are_of_one_kind(tmp_path):
    (tmp_path / "part-0.csv").write_text("user,item,rating\n1,1,3\n2,2,4\n")
    (tmp_path / "part-1.csv").write_text("user,item,rating\nx,1,3\n1,2,4\n")
    assert found(load(tmp_path))["user"] == ["1", "2", "x", "1"]


def test_tables_of_items_have_a_format_of_their_own_and_say_what_they_describe(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "a.csv").write_text(PLAIN.write_csv(separator=";"))
    films = pl.DataFrame({"item": range(25), "title": [f"Film, {n}" for n in range(25)]})
    films.write_csv(tmp_path / "items.tsv", separator="\t")
    table = load(tmp_path / "a.csv", items_path=str(tmp_path / "items.tsv"))
    assert table.item_features["title"].to_list() == films["title"].to_list()
    assert "25 of 25 items are described by their table" in caplog.text
    films.rename({"item": "movieId"}).write_ndjson(tmp_path / "items.json")
    again = load(tmp_path / "a.csv", items_path=str(tmp_path / "items.json"))
    assert again.item_features.equals(table.item_features)
    films.with_columns(pl.col("item") + 1000).write_csv(tmp_path / "others.csv")
    load(tmp_path / "a.csv", items_path=str(tmp_path / "others.csv"))
    assert "describes none of the 25 items: its ids are like 1000, 1001, 1002" in caplog.text
    assert "those of the rows like 0, 1, 2" in caplog.text


def test_times_in_another_format_say_which_setting_reads_them(tmp_path):
    content = FRAME.with_columns(DAYS.dt.strftime("%m/%d/%Y")).write_csv()
    message = r"by ISO 8601 \(set 'data\.timestamp_format=\"%m/%d/%Y\"'\)"
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", content)


def test_times_that_cannot_be_right_are_warned_of(tmp_path, caplog):
    load(tmp_path / "a.csv", FRAME.write_csv(), timestamp_unit="ms")
    assert "in ms the times end in the year 1970; if they are seconds, set" in caplog.text
    caplog.clear()
    table = load(tmp_path / "a.csv", FRAME.with_columns(timestamp=0).write_csv())
    assert not caplog.text
    latest_first(table)
    assert "all timestamps are equal (0)" in caplog.text


@pytest.mark.parametrize(("side", "other"), [("user", "item"), ("item", "user")])
def test_one_item_is_refused_as_one_user_is(tmp_path, side, other):
    content = PLAIN.unique(other).with_columns(pl.lit(7).alias(side)).write_csv()
    message = rf"all \d+ ratings are of one {side}; .*data\.columns\.{side} the right column"
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", content)


def test_a_column_that_is_missing_is_suggested(tmp_path):
    content = PLAIN.rename({"user": "buyer_user", "rating": "liking"}).write_csv()
    with pytest.raises(DataError, match=r"set data\.columns\.user=buyer_user$"):
        load(tmp_path / "a.csv", content)
    with pytest.raises(DataError, match=r"no column 'likng' .*; did you mean 'liking'\?"):
        load(tmp_path / "a.csv", columns={"user": "buyer_user", "rating": "likng"})


CASES = Path(__file__).parents[4] / "shared" / "cases"
IMPLICIT = {"rating": None}
ROWS = {
    "plain.csv": 400, "ml_latest.csv": 400, "recbole.inter": 400, "decimal_comma.csv": 400,
    "amazon_5core.json": 400, "ts_iso.csv": 400, "ts_zero.csv": 400, "cp1252.csv": 400,
    "utf16.csv": 400, "spark_csv": 400, "quote_in_review.csv": 400, "merge_007.csv": 1500,
    "anime.csv": 400, "jester_long.csv": 750,
}  # fmt: skip
MESSAGES = {
    "amazon_ratings_only.csv": r"looks like data .*data\.header=false",
    "ts_us_date.csv": r"data\.timestamp_format=\"%m/%d/%Y\"",
    "wrong_line.csv": "line 302: 5 values",
    "multiline_bad_rating.csv": "line 602: 'good'",
    "nan_ids.csv": "remove such rows",
    "null_ids.parquet": "remove such rows",
    "plain.csv.zip": "a zip archive",
    "plain.csv.bz2": "bzip2",
    "one_item.csv": "of one item",
}


@pytest.mark.skipif(not CASES.is_dir(), reason="no folder of cases beside the checkout")
@pytest.mark.parametrize("name", [*ROWS, *MESSAGES])
def test_the_cases_beside_the_checkout(name):
    if name in MESSAGES:
        with pytest.raises(DataError, match=MESSAGES[name]):
            load(CASES / name, duplicates="last")
    else:
        assert len(load(CASES / name, duplicates="last")) == ROWS[name]


@pytest.mark.skipif(not CASES.is_dir(), reason="no folder of cases beside the checkout")
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("quotes_swallow.tsv", IMPLICIT),
        ("quotes_inside.tsv", IMPLICIT),
        ("lastfm_360k.tsv", {"user": 1, "item": 3, "weight": 4, **IMPLICIT}),
        ("steam-200k.csv", {"user": 1, "item": 2, **IMPLICIT}),
    ],
)
def test_the_cases_without_ratings(name, columns):
    assert len(load(CASES / name, columns=columns)) == 400
