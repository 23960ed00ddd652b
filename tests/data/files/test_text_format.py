"""How the values of a text stand, found by looking at it."""

import csv
import io
import logging
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.data.files.text_format import TextSettings, open_text
from lightning_collab.errors import DataError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "a.csv"


def found(path, text, **said):
    path.write_text(text, newline="", encoding="utf-8")
    with ExitStack() as stack:
        return open_text(path, TextSettings(**said), stack)


@pytest.mark.parametrize(
    ("text", "separator", "header", "comma"),
    [
        ("user,item,rating\n1,2,3\n", ",", True, False),
        ("user\titem\n1\t2\n", "\t", True, False),
        ("user;item;rating\n1;2;3,5\n4;5;4\n", ";", True, True),
        ("a;b;c\n1;2;3,5\n4;5;4.5\n", ";", True, True),
        ("user|title|rating\n1|Good, Bad; Ugly|3\n", "|", True, False),
        ("1 2 3\n4 5 6\n", " ", False, False),
        ("1,2,3\n4,5,6\n", ",", False, False),
        ("A1,B2,4.0\nA2,B2,3.0\n", ",", False, False),
        ("person,film\nana,x\n", ",", True, False),
        ("u,i\n1,2\n", ",", True, False),
        ('"user";"title"\n"1";"a, b"\n"2";"c, d"\n', ";", True, False),
        ("user_id:token\titem_id:token\n1\t2\n", "\t", True, False),
        ("item\n1\n2\n", ",", True, False),
        ("item\n1,5\n2,5\n", ",", True, False),
        ("user;1999\n7;3\n", ";", False, False),
    ],
)
def test_what_stands_in_a_text_is_found(path, text, separator, header, comma):
    text_format = found(path, text).format
    assert (text_format.separator, text_format.has_header) == (separator, header)
    assert text_format.decimal_comma == comma
    assert text_format.quote_char == '"'


def test_what_is_said_is_taken(path):
    text = "user;item;rating\n1;2;3,5\n"
    assert found(path, text, delimiter=",").format.separator == ","
    assert not found(path, text, header=False).format.has_header
    assert not found(path, text, decimal="point").format.decimal_comma
    assert found(path, text, quote="'").format.quote_char == "'"
    assert found(path, text, quote=None).format.quote_char is None
    assert found(path, "user,item\n1,2\n", decimal="comma", delimiter=";").format.decimal_comma
    # A name that is asked for is in a first line of names, numbers or not.
    assert not found(path, "user;1999\n7;3\n").format.has_header
    assert found(path, "user;1999\n7;3\n", names=("1999",)).format.has_header


NAMES = ("user", "item", "rating", "title")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 99),
            st.integers(0, 99),
            st.integers(0, 10).map(lambda n: n / 2),
            st.text(st.sampled_from("ab ,;|\t\n.'"), max_size=9),
        ),
        min_size=3,
        max_size=30,
    ),
    st.permutations(range(4)),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
)
@settings(max_examples=100, deadline=None)
def test_the_delimiter_of_any_table_with_usual_names_is_found(path, rows, order, mark, quoting):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=mark, quoting=quoting, lineterminator="\n")
    writer.writerows([row[n] for n in order] for row in (NAMES, *rows))
    opened = found(path, text.getvalue())
    assert opened.format.separator == mark
    assert opened.format.has_header
    assert list(opened.first) == [NAMES[n] for n in order]
    kept = opened.format.quote_char == '"'
    assert not kept or [len(row) for row in opened.sample] == [4] * len(rows)


def test_quotes_are_text_where_that_leaves_each_line_a_row(path, caplog):
    caplog.set_level(logging.INFO)
    opened = found(path, 'user\tartist\nu1\t"Weird Al" Y\nu2\tb\n')
    assert opened.format.quote_char is None
    assert "line 2: text follows the" in caplog.text
    assert "data.quote=null" in caplog.text
    swallowed = 'user\tartist\tplays\nu1\t"Heroes\t2\nu2\tx\t3\nu3\tHeroes"\t3\nu4\ty\t5\n'
    assert found(path, swallowed).format.quote_char is None
    # Who says that quotes enclose is warned.
    caplog.clear()
    assert found(path, swallowed, quote='"').continued == [3, 4]
    assert "line 2: quotes enclose whole lines" in caplog.text


def test_quotes_that_can_be_read_in_no_way_are_refused_with_line_and_setting(path):
    text = 'user,item,title\n1,2,"a, b"\n3,4,"c" d\n'
    message = r"a\.csv, line 3: text follows .* set data\.quote=null"
    with pytest.raises(DataError, match=message):
        found(path, text)
    assert found(path, text, quote=None).format.quote_char is None


def test_only_a_sample_is_looked_at(path):
    text = "user,item\n" + "1,2\n" * 3000
    assert len(found(path, text).sample) == 1000
