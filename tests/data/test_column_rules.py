"""Times in text, against Python's datetime."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.data.column_rules import USUAL_FORMATS, fitting_formats, seconds

MOMENTS = st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2100, 1, 1))
ZONES = st.one_of(
    st.none(), st.integers(-14 * 60, 14 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
)


def read(values, written=None):
    return (
        pl.DataFrame({"t": values}, schema={"t": pl.String})
        .select(seconds("t", written))
        .to_series()
        .to_list()
    )


def since_1970(moment):
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (zoned - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(seconds=1)


@given(MOMENTS, ZONES, st.sampled_from("T "), st.sampled_from(["auto", "minutes", "milliseconds"]))
@settings(max_examples=150, deadline=None)
def test_iso_8601_is_read_as_python_reads_it(moment, zone, between, spec):
    text = moment.replace(tzinfo=zone).isoformat(between, spec)
    assert read([text]) == [since_1970(dt.datetime.fromisoformat(text))]
    assert read([text.replace("+00:00", "Z")]) == read([text])


def test_a_date_is_its_midnight_in_utc_and_what_is_no_time_is_none():
    day = since_1970(dt.datetime(2017, 7, 14))
    assert read(
        ["2017-07-14", " 2017-7-14 ", "2017-13-01", "2017-02-30", "07/14/2017", "", None]
    ) == [day, day, None, None, None, None, None]
    assert read(["2017-07-14T25:00", "1500000000", "2017-07-14x"]) == [None, None, None]


@pytest.mark.parametrize("written", USUAL_FORMATS)
def test_each_usual_format_is_read_and_found_again(written):
    moments = [dt.datetime(2017, 7, 24, 13, 5, 9), dt.datetime(2018, 12, 31, 0, 0, 0)]
    texts = [each.replace(tzinfo=dt.UTC).strftime(written) for each in moments]
    exact = [since_1970(dt.datetime.strptime(each, written)) for each in texts]
    assert read(texts, written) == exact
    assert written in fitting_formats(texts)


def test_a_format_with_a_zone_and_one_that_does_not_fit():
    assert read(["07/14/2017 02:40 +0200"], "%m/%d/%Y %H:%M %z") == [1500000000 - 7200]
    assert read(["2017-07-14"], "%d.%m.%Y") == [None]
    assert fitting_formats(["07/14/2017"]) == ["%m/%d/%Y"]
    assert fitting_formats(["01/02/2017", ""]) == ["%m/%d/%Y", "%d/%m/%Y"]
    assert fitting_formats(["never"]) == fitting_formats([]) == []
