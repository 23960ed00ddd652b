"""Harmless text, and lists that fit the terminal: ids and numbers whole, titles at words."""

import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from lightning_collab.runs.text import (
    UNBOUNDED,
    Column,
    item_table,
    printable,
    stdout_console,
    terminal_text,
    without_formulas,
)


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text):
    shown = printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert not set(shown) & set("\u202e\u2066\u2028")
    assert printable(shown) == shown


def test_ordinary_titles_stay_as_they_are():
    for title in ("Amélie (2001)", "七人の侍 (1954)", "[REC] (2007)", "8½ (1963)"):
        assert printable(title) == title
    assert printable("A\ttab") == "A tab"


def test_a_table_shows_brackets_and_no_colours():
    table = Table()
    table.add_row(terminal_text("[red]REC[/red] \x1b[31mred\x1b[0m \x1b]0;title\x07"))
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=80, color_system="truecolor").print(table)
    assert "[red]REC[/red]" in file.getvalue()
    assert "\x1b[31m" not in file.getvalue()
    assert "\x1b]" not in file.getvalue()


@pytest.mark.parametrize("start", list("=+-@\t\r\n"))
def test_what_a_spreadsheet_would_run_becomes_text(start):
    cell = f"{start}HYPERLINK(1)"
    frame = pl.DataFrame({"title": [cell, "Heat (1995)", None], "n": [-1, 2, 3]})
    assert without_formulas(frame)["title"].to_list() == [f"'{cell}", "Heat (1995)", None]
    assert without_formulas(frame)["n"].to_list() == [-1, 2, 3]


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-3", "-.5"])
def test_numbers_in_text_columns_stay_numbers(number):
    assert without_formulas(pl.DataFrame({"x": [number]}))["x"].to_list() == [number]


def test_a_number_with_a_formula_behind_it_is_no_number():
    assert without_formulas(pl.DataFrame({"x": ["-1+cmd|'/C calc'!A0"]}))["x"][0].startswith("'")
    assert without_formulas(pl.DataFrame({"x": ["-1\n=1"]}))["x"][0].startswith("'")


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
