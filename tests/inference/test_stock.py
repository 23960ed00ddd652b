"""Which items may be recommended at all, by files of ids."""

from types import SimpleNamespace

import polars as pl
import pytest

from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import DataError, NotFoundError
from lightning_collab.inference.stock import barred_items


@pytest.mark.parametrize("header", ["", "Movie ID\n"])
def test_a_list_of_ids_needs_no_header(trained, tmp_path, header):
    ids = trained.item_vocabulary.ids.head(6).to_list()
    stock = tmp_path / "stock.txt"
    stock.write_text(header + "\n".join(map(str, ids[:4])) + "\n\n" + f"{ids[4]}\r\n{ids[5]}")
    shown = trained.recommend(
        user=trained.user_vocabulary.ids[2], top_k=20, seen="none", only=stock
    )
    assert set(shown["item"]) == set(ids)


def test_ids_in_a_list_may_be_any_text(tmp_path):
    """Spaces, zeros in front, and a comma where the id stands in quotes."""
    vocabulary = Vocabulary.of(pl.Series(["blue mug", "007", "mug, red", "7"]))
    run = SimpleNamespace(item_vocabulary=vocabulary, items=pl.DataFrame({"ratings": [1] * 4}))
    stock = tmp_path / "stock"
    stock.write_text('blue mug\n007\n"mug, red"\n', encoding="utf-8-sig")
    barred = barred_items(run, only=stock)
    assert vocabulary.decode(barred).to_list() == ["7"]


def test_a_header_of_another_name_is_said_to_be_unknown(trained, tmp_path, caplog):
    stock = tmp_path / "stock.csv"
    stock.write_text(f"code\n{trained.item_vocabulary.ids[0]}\n")
    shown = trained.recommend(user=trained.user_vocabulary.ids[2], seen="none", only=stock, top_k=5)
    assert shown["item"].to_list() == [trained.item_vocabulary.ids[0]]
    assert "stock.csv: 1 of 2 items are not known to the run (the first: code)" in caplog.text


def test_bad_stock_says_why(trained, tmp_path):
    user = trained.user_vocabulary.ids[2]
    with pytest.raises(NotFoundError, match="only: the run knows none of these 2 items"):
        trained.recommend(user=user, only=[777, 778])
    names = tmp_path / "names.csv"
    names.write_text("name,price\nx,2\n")
    with pytest.raises(DataError, match=r"names\.csv, line 1: no column of items; it has 'name', "):
        trained.recommend(user=user, exclude=names)
    names.write_text("name\nx\n")
    with pytest.raises(NotFoundError, match=r"names\.csv: .*none of these 2 items \(the first: "):
        trained.recommend(user=user, exclude=names)
    names.write_text("10\n11,12\n")
    with pytest.raises(DataError, match=r"names\.csv, line 2: 2 values where the first line has 1"):
        trained.recommend(user=user, exclude=names)
    parquet = tmp_path / "names.parquet"
    pl.DataFrame({"name": ["x"]}).write_parquet(parquet)
    with pytest.raises(DataError, match="no column of items"):
        trained.recommend(user=user, exclude=parquet)
    with pytest.raises(DataError, match="missing"):
        trained.recommend(user=user, exclude=tmp_path / "missing.csv")
