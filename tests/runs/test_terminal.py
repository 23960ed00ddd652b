"""Lists of items fit the terminal: ids and numbers whole, titles at words, the rest as it can."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from lightning_collab.runs.terminal import UNBOUNDED, Column, item_table, stdout_console


def printed(columns, width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(item_table(columns, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


FILMS = [
    Column("item", ["64", "1001"], right=True),
    Column(
        "title", ["Shawshank Redemption, The (1994)", "Some Folks Call It a Sling Blade"], "title"
    ),
    Column("mean", ["4.445", "4.301"], right=True),
    Column("genres", [["Drama"], ["Drama", "Thriller"]], "extra"),
    Column("because of", [["Babe (1995) (5)", "Fargo (1996) (4)"], []], "extra", joined_by="; "),
]


def test_all_is_there_where_there_is_room():
    head, _, first, second = printed(FILMS, 120)
    assert head.split() == ["item", "title", "mean", "genres", "because", "of"]
    assert first == (
        "  64  Shawshank Redemption, The (1994)  4.445  Drama            "
        "Babe (1995) (5); Fargo (1996) (4)"
    )
    assert second.endswith("4.301  Drama, Thriller")


def test_as_many_whole_parts_as_fit():
    first = printed(FILMS, 78)[2]
    assert first.endswith("Babe (1995) (5)")
    assert "Fargo" not in first


def test_a_part_that_does_not_fit_alone_is_cut():
    columns = [FILMS[0], Column("why", [["a reason that is long"], ["b"]], "extra", least=8)]
    assert printed(columns, 20)[2] == "  64  a reason that…"


def test_titles_wrap_at_words_and_extras_go_before_that_is_needed():
    lines = printed(FILMS, 40)
    assert "genres" not in lines[0]
    assert "because" not in lines[0]
    assert [line.split() for line in lines[2:4]] == [
        ["64", "Shawshank", "Redemption,", "The", "4.445"],
        ["(1994)"],
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal(width):
    assert max(map(len, printed(FILMS, width))) <= width


words = st.text("abc 東é[]", min_size=1, max_size=40)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), words, st.lists(words, max_size=3)), min_size=1),
    st.integers(30, 150),
)
def test_whatever_is_in_it(rows, width):
    ids, titles, parts = zip(*rows, strict=True)
    columns = [
        Column("item", [str(each) for each in ids], right=True),
        Column("title", titles, "title"),
        Column("because of", parts, "extra"),
    ]
    lines = printed(columns, width)
    assert max(map(cell_len, lines)) <= width
    for each in ids:
        assert any(line.split()[:1] == [str(each)] for line in lines)


def test_what_is_piped_is_neither_cut_nor_wrapped(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout_console().width == UNBOUNDED
    monkeypatch.setenv("COLUMNS", "70")
    assert stdout_console().width == 70
