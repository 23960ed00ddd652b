"""JSON lines: an object a row."""

import gzip
import json

import pytest

from lightning_collab.config.data import CustomFileConfig
from lightning_collab.data.sources import custom_file
from lightning_collab.errors import DataError

ROWS = [
    {"reviewerID": f"A{n % 5}", "asin": f"00{n % 7}", "overall": 1.0 + n % 5,
     "unixReviewTime": 1_500_000_000 + n, "reviewText": 'ok, "fine"\nx', "helpful": [n, n]}
    for n in range(20)
]  # fmt: skip


@pytest.fixture
def load(tmp_path):
    def read(lines, **settings):
        content = "\n".join(lines).encode()
        path = tmp_path / "reviews.json"
        path.write_bytes(gzip.compress(content) if settings.pop("packed", False) else content)
        return custom_file.load(CustomFileConfig(path=str(path), duplicates="last", **settings))

    return read


@pytest.mark.parametrize("packed", [False, True])
def test_each_object_is_a_row(load, packed):
    table = load([json.dumps(row) for row in ROWS], packed=packed)
    users = table.user_vocabulary.decode(table.users).to_list()
    items = table.item_vocabulary.decode(table.items).to_list()
    assert users == [row["reviewerID"] for row in ROWS]
    assert items == [row["asin"] for row in ROWS]
    assert table.ratings.tolist() == [row["overall"] for row in ROWS]
    assert table.timestamps.tolist() == [row["unixReviewTime"] for row in ROWS]


def test_dates_and_marks_are_as_in_text(load):
    rows = [{"user": 1 + n % 2, "item": n, "rating": n % 3, "date": f"2020-01-0{1 + n}"}
            for n in range(6)]  # fmt: skip
    table = load(map(json.dumps, rows), missing=(0.0,))
    assert table.ratings.tolist() == [1, 2, 1, 2]
    assert (table.timestamps[1] - table.timestamps[0]) == 86400


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"user": 1, ', r"reviews\.json, line 4: not JSON; each line must be an object"),
        ("[1, 2]", r"reviews\.json, line 4: not an object"),
        ('{"user": 3, "item": 1, "rating": "good"}', r"line 4: 'good' is not a valid rating"),
        ('{"user": null, "item": 1, "rating": 2}', r"line 4: '' is not a valid user .*remove such"),
        ('{"user": 3, "rating": 2}', r"line 4: '' is not a valid item"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(load, line, message):
    good = [json.dumps({"user": n, "item": n, "rating": 1 + n}) for n in range(3)]
    with pytest.raises(DataError, match=message):
        load([good[0], "", good[1], line, good[2]])
