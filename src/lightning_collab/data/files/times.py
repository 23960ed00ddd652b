"""Times in text as seconds since 1970."""

from collections.abc import Sequence

import polars as pl

# Date, then time, fraction and zone where there are any; a blank for the T is as usual.
ISO_8601 = (
    r"^\s*(?<year>\d{4})-(?<month>\d{1,2})-(?<day>\d{1,2})"
    r"(?:[Tt ]\s*(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?:[Zz]|UTC|(?<sign>[+-])(?<zone_hour>\d{2}):?(?<zone_minute>\d{2})?)?)?\s*$"
)
# What people write beside ISO 8601, as far as a first value may show it.
_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%m-%d-%Y", "%d-%m-%Y", "%Y.%m.%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%m %d, %Y", "%Y%m%d"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
USUAL_FORMATS = (
    *(day + time for day in _DAYS for time in _TIMES),
    *("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z"),
)


def seconds(column: str, written: str | None) -> pl.Expr:
    """Seconds since 1970 of a column of text.

    Args:
        column: its name.
        written: its format, as of `strftime`; None: ISO 8601, a date or a date and a time.

    Returns:
        Int64; UTC where no zone is named, fractions left out; null where the text is no such time.
    """
    text = pl.col(column)
    if written is not None:
        return text.str.strip_chars().str.to_datetime(written, strict=False).dt.epoch("s")
    parts = text.str.extract_groups(ISO_8601).struct
    day = [parts.field(name).str.zfill(2) for name in ("year", "month", "day")]
    time = [parts.field(name).fill_null("0").str.zfill(2) for name in ("hour", "minute", "second")]
    moment = pl.concat_str(*day, *time, separator=" ").str.to_datetime(
        "%Y %m %d %H %M %S", strict=False
    )
    east = sum(
        (
            parts.field(name).cast(pl.Int64).fill_null(0) * length
            for name, length in (("zone_hour", 3600), ("zone_minute", 60))
        ),
        pl.lit(0),
    )
    sign = pl.when(parts.field("sign") == "-").then(-1).otherwise(1)
    return (moment.dt.epoch("s") - sign * east).alias(column)


def fitting_formats(values: Sequence[str]) -> list[str]:
    """The usual formats that all of some times may be written in.

    Args:
        values: texts, some of them.
    """
    frame = pl.DataFrame({"time": [each for each in values if each]}, schema={"time": pl.String})
    if frame.is_empty():
        return []
    found = frame.select(
        seconds("time", written).is_not_null().all().alias(written) for written in USUAL_FORMATS
    ).row(0, named=True)
    return [written for written, fits in found.items() if fits]
