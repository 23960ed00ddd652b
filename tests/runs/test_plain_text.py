import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from lightning_collab.runs.plain_text import printable, terminal_text, without_formulas


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
