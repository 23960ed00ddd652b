import pytest
from matplotlib.text import Text

from lightning_collab.demo.marked_map import COLORS, marked_map, png
from lightning_collab.inspection.embedding_map import embedding_map

CALLED = {"rated": "you rated", "recommended": "recommended"}


@pytest.fixture(scope="module")
def drawn(trained):
    return embedding_map(trained, "items", "pca")


def labels(figure):
    return {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize("dark", [False, True])
def test_rated_and_recommended_items_are_marked_and_named(drawn, dark):
    marked = {"rated": [11, 17, -1], "recommended": [20]}
    figure = marked_map(drawn, marked, CALLED, dark=dark)
    others, rated, recommended = figure.axes[0].collections
    ids = drawn.points["item"].to_list()
    assert len(others.get_offsets()) == len(ids)
    assert rated.get_offsets().tolist() == [
        drawn.positions[ids.index(each)].tolist() for each in (11, 17)
    ]
    assert recommended.get_offsets().tolist() == [drawn.positions[ids.index(20)].tolist()]
    assert labels(figure) == {"Star Wars (1977)", "Heat (1986)", "Film 20 (1920)"}
    assert len({*COLORS[dark].values()}) == 4
    assert png(figure).startswith(b"\x89PNG")


def test_nothing_is_marked_before_a_rating(drawn):
    figure = marked_map(drawn, {"rated": [], "recommended": []}, CALLED, dark=False)
    assert labels(figure) == set()


def test_labels_do_not_cover_one_another_and_stay_in_the_picture(drawn):
    everything = drawn.points["item"].to_list()
    figure = marked_map(drawn, {"rated": everything, "recommended": []}, CALLED, dark=False)
    texts = figure.axes[0].texts
    assert len(texts) > 10
    # An annotation's own extent has its line in it.
    boxes = [Text.get_window_extent(text) for text in texts]
    for place, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:place]) == 0
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
    assert max(len(text.get_text()) for text in texts) == 32
