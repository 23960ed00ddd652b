"""Quotes in text: against Python's own reader, and where they swallow lines."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.data.files.quotes import lines_are_alike, look_at_quotes


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("quotes") / "a.csv"


def look(path, text, separator=",", quote='"'):
    path.write_bytes(text.encode())
    return look_at_quotes(path, separator, quote)


VALUES = st.text(st.sampled_from('ab",;\n \t'), max_size=6)
TABLES = st.lists(st.lists(VALUES, min_size=2, max_size=4), min_size=1, max_size=6)


@given(TABLES, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_a_writer_encloses_is_found_whole(path, rows, separator, end, bom):
    """The first line of each record is the one that Python's reader counts."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    content = text.getvalue()
    found = look(path, ("\ufeff" if bom else "") + content, separator)
    assert found.fault is None
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    firsts, line = [], 1
    for _ in reader:
        firsts.append(line)
        line = reader.line_num + 1
    expected = sorted(set(range(1, reader.line_num + 1)) - set(firsts))
    assert found.continued == expected


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('a,b\n1,"x" y\n', 2, "text follows"),
        ('a,b\n1,2\n1,12" vinyl\n', 3, "does not begin with one"),
        ('a,b\n1,"x\ny\n', 2, "none closes it"),
        ('a,b\n1,"x\ny" z,3\n', 2, "text follows"),
        ('a,b\n1,"x\ny","z" z\n', 2, "text follows"),
        ('a,b\n1,"x\ny",z"\n', 2, "does not begin with one"),
        ('"a"b,c\n', 1, "text follows"),
    ],
)
def test_a_quote_that_encloses_no_value_is_named_with_its_line(path, text, line, what):
    found = look(path, text)
    assert found.fault[0] == line
    assert what in found.fault[1]


def test_quotes_that_enclose_whole_lines_are_seen(path):
    found = look(path, 'u\ta\tn\nu1\t"x\t1\nu2\ty\t2\nu3\tz"\t3\n', "\t")
    assert found == ([3, 4], None, 2)
    # A text of several lines has no line that is a record.
    assert look(path, 'a,b,c\n1,2,"x\ny, z"\n2,3,"w"\n').swallowing is None
    assert look(path, 'a,b\n1,"x\n\n"\n').swallowing is None


def test_another_sign_encloses(path):
    assert look(path, "a,b\n1,'x\ny'\n", quote="'").continued == [3]
    assert look(path, "a,b\n1,it's\n").fault is None


def test_lines_are_alike_where_each_has_as_many_values(path):
    path.write_text('a,b\n\n1,"x\n2,y"\n')
    assert lines_are_alike(path, ",")
    path.write_text("a,b\n1,2,3\n")
    assert not lines_are_alike(path, ",")
