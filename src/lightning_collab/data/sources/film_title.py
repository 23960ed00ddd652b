"""What the title of a film says beside its name."""

import polars as pl


def release_year(title: pl.Expr) -> pl.Expr:
    """The last year in parentheses of titles such as `2001: A Space Odyssey (1968)`.

    Args:
        title: String.

    Returns:
        Int32, null where there is none.
    """
    return title.str.extract(r"^.*\((\d{4})\)").cast(pl.Int32)
