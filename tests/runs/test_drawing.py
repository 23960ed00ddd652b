from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from lightning_collab.runs.drawing import (
    COLORS,
    GENRES,
    GREY,
    INK,
    KNOWN,
    OCCUPATIONS,
    look_of,
    svg_address,
)


@pytest.mark.parametrize("names", [GENRES, OCCUPATIONS])
def test_all_that_movielens_names_can_be_told_apart(names):
    looks = [look_of(each.split("|")[0]) for each in names]
    assert len(set(looks)) == len(names)
    assert {look.color for look in looks} == set(COLORS)


def test_releases_that_call_a_genre_otherwise_give_it_the_same_look():
    assert look_of("Children") == look_of("Children's")
    assert look_of("educator") == look_of("academic/educator")


def test_what_is_nothing_in_particular_is_grey():
    for name in ("no genre", "unknown", "other"):
        assert look_of(name).color == GREY


def test_other_names_have_a_look_by_their_letters():
    assert "Poetry" not in KNOWN
    assert look_of("Poetry") == look_of("Poetry")
    assert len({look_of(f"genre {number}") for number in range(200)}) == 24


def test_colors_differ_for_eyes_that_do_not_tell_red_from_green():
    """Viénot, Brettel and Mollon 1999, on linear RGB: what is left are two of three channels."""
    seen = []
    for color in COLORS:
        red, green, blue = ((int(color[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5))
        seen.append((0.11 * red + 0.89 * green, blue))
    apart = [abs(a - c) + abs(b - d) for (a, b), (c, d) in pairwise(sorted(seen))]
    assert min(apart) > 0.05


def test_a_figure_takes_its_ink_from_the_page():
    import base64

    figure = Figure()
    figure.add_subplot().set_xlabel("steps", color=INK)
    kind, _, content = svg_address(figure).partition(",")
    text = base64.b64decode(content).decode()
    assert kind == "data:image/svg+xml;base64"
    assert f": {INK}" not in text
    assert "var(--ink)" in text
    assert "prefers-color-scheme:dark" in text
