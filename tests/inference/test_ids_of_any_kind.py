"""Raw ids, whatever they are, come out of a run as they went in."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab import load
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.inference.lookup import row_of_id
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

WHOLE = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
IDS = st.sampled_from([(WHOLE, pl.Int64), (TEXT, pl.String)])


@given(st.data(), IDS)
def test_a_vocabulary_keeps_ids_through_its_state(data, kind):
    ids, dtype = kind
    known = data.draw(st.lists(ids, min_size=1, max_size=30))
    asked = data.draw(st.lists(ids, max_size=10))
    vocabulary = Vocabulary.of(pl.Series(known, dtype=dtype))
    assert vocabulary.ids.to_list() == sorted(
        set(known), key=lambda i: i.encode() if isinstance(i, str) else i
    )
    assert Vocabulary.from_state(vocabulary.state()) == vocabulary
    assert vocabulary.decode(vocabulary.encode(pl.Series(known, dtype=dtype))).to_list() == known
    rows = vocabulary.encode(pl.Series(asked, dtype=dtype))
    assert [row > 0 for row in rows] == [each in set(known) for each in asked]


@given(data=st.data(), kinds=st.tuples(IDS, IDS))
@settings(max_examples=4)
def test_a_run_keeps_ids_in_checkpoint_and_catalogue(run_config, tmp_path_factory, data, kinds):
    (user_ids, user_type), (item_ids, item_type) = kinds
    users = data.draw(st.lists(user_ids, min_size=3, max_size=5, unique=True))
    items = data.draw(st.lists(item_ids, min_size=3, max_size=5, unique=True))
    pairs = [(user, item) for user in users for item in items]
    frame = pl.DataFrame(
        {
            "user": pl.Series([user for user, _ in pairs], dtype=user_type),
            "item": pl.Series([item for _, item in pairs], dtype=item_type),
            "rating": [1.0 + n % 5 for n in range(len(pairs))],
        }
    )
    table = RatingTable.of_checked(frame, name="any", rating_range=(1.0, 5.0))
    config = run_config(
        "data=synthetic",
        "split.val=0",
        "split.test=0",
        "logger=none",
        "callbacks.progress_bar=false",
        "trainer.max_epochs=1",
        "model=least_squares_factors",
        "model.factors=2",
    )
    run = RunDirectory(tmp_path_factory.mktemp("ids") / "run")
    ratings = load_data(config, table)
    train(config, run, data=ratings)
    trained = load(run.path)
    for side, ids, frame_of in (("users", users, trained.users), ("items", items, trained.items)):
        column = frame_of[side.removesuffix("s")].to_list()
        assert set(column) == set(ids)
        for each in ids:
            assert column[row_of_id(trained, side, each) - 1] == each
    predicted = trained.predict(
        pl.Series(users[:3], dtype=user_type), pl.Series(items[:3], dtype=item_type)
    )
    assert predicted["known_user"].all()
    assert predicted["known_item"].all()
    shown = trained.recommend(user=users[0], seen="none", top_k=3)
    assert set(shown["item"]) <= set(items)


def test_the_types_of_ids_are_not_mixed_up():
    """The text 007 is not the text 7, and no text is a number."""
    whole = Vocabulary.of(pl.Series([7, 8], dtype=pl.Int64))
    text = Vocabulary.of(pl.Series(["7", "007"], dtype=pl.String))
    assert whole != text
    assert text.encode(pl.Series(["7", "007", "0007"])).tolist() == [2, 1, 0]
    assert whole.encode([7, 9]).tolist() == [1, 0]
