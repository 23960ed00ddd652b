import pytest

from lightning_collab.training.console import rate_text


@pytest.mark.parametrize(
    ("speed", "said"),
    [
        (1_254_000, "1.25 M ratings/s"),
        (100_000, "0.10 M ratings/s"),
        (99_999, "99,999 ratings/s"),
        (840.4, "840 ratings/s"),
    ],
)
def test_a_speed_is_said_in_a_unit_that_shows_it(speed, said):
    assert rate_text(speed, "ratings") == said
