"""The page itself, which Streamlit runs anew at each click."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import streamlit as st

from lightning_collab.api.trained_run import TrainedRun, load
from lightning_collab.config.commands import MapMethod
from lightning_collab.demo.catalog import Catalog, as_text
from lightning_collab.demo.marked_map import marked_map, png
from lightning_collab.demo.tables import recommended, recommended_rows, similar_rows, table_html
from lightning_collab.errors import LightningCollabError
from lightning_collab.inspection.embedding_map import EmbeddingMap, embedding_map
from lightning_collab.inspection.layout import TITLES

# Items that are offered at a time.
HANDFUL = 8
# The map has so many items, the most rated.
MOST_POINTS = 5000
METHODS: list[MapMethod] = ["pca", "tsne"] if find_spec("openTSNE") else ["pca"]


def show(run: str, checkpoint: str) -> None:
    """Show the page of a run.

    Args:
        run: the run directory.
        checkpoint: the file with the weights.
    """
    st.set_page_config(f"{Path(run).name} - demo", layout="wide")
    catalog = _catalog(run, checkpoint)
    left, right = st.columns([1, 2], gap="large")
    with left:
        given, min_ratings = _ask(catalog)
    with right:
        what, where, near = st.tabs(["Recommended", "Map", "Similar"])
        with what:
            found = _recommend(catalog.run, given, min_ratings)
        with where:
            _draw(run, checkpoint, {"rated": [*given], "recommended": found}, catalog.run.ranks)
        with near:
            _neighbors(catalog, min_ratings)


def _ask(catalog: Catalog) -> tuple[dict[Any, float], int]:
    """The ratings that are given, by raw ids, and how well known a shown item must be."""
    run, state = catalog.run, st.session_state
    st.subheader("What you like" if run.ranks else "Rate a few items", anchor=False)
    if not run.ranks:
        st.caption(f"One star is {catalog.stars[0]:g}, five are {catalog.stars[-1]:g}.")

    def add() -> None:
        if state.search is not None:
            state.added = [state.search, *(each for each in _added() if each != state.search)]
        state.search = None

    st.selectbox(
        "Search",
        catalog.searched,
        index=None,
        format_func=catalog.names.__getitem__,
        placeholder="Search for another item",
        label_visibility="collapsed",
        key="search",
        on_change=add,
    )
    offered = catalog.first[: state.get("offered", HANDFUL)]
    listed = [*_added(), *(each for each in offered if each not in _added())]
    ids = run.items["item"]
    given = {}
    for each in listed:
        rating = _rating(catalog, each)
        if rating is not None:
            given[ids[each]] = rating
    with st.container(horizontal=True):
        if len(offered) < len(catalog.first):
            st.button("More items", on_click=lambda: state.update(offered=len(offered) + HANDFUL))
        if given:
            st.button("Start over", on_click=state.clear)
    min_ratings = st.number_input(
        f"Show only items with so many {run.rows_called}",
        0,
        int(run.items["ratings"].max()),  # type: ignore[arg-type]
        catalog.enough_ratings,
    )
    return given, int(min_ratings)


def _added() -> list[int]:
    found: list[int] = st.session_state.get("added", [])
    return found


def _rating(catalog: Catalog, item: int) -> float | None:
    name = catalog.names[item]
    if catalog.run.ranks:
        return 1.0 if st.checkbox(as_text(name), key=f"likes {item}", wrap=True) else None
    st.text(name)
    stars = st.feedback("stars", key=f"stars {item}")
    return None if stars is None else catalog.stars[stars]


def _recommend(run: TrainedRun, given: dict[Any, float], min_ratings: int) -> list[Any]:
    """Show what is recommended; its raw ids."""
    if not given:
        st.info("Recommendations are here as soon as there is an item that you like or rate.")
        return []
    try:
        found = recommended(run, given, min_ratings)
    except LightningCollabError as error:
        st.warning(as_text(error))
        return []
    number = "score" if run.ranks else "predicted"
    st.html(table_html(["item", number, "because of"], recommended_rows(found)))
    low, high = run.rating_range
    scale = f"Ratings are predicted from {low:g} to {high:g}."
    st.caption("A score puts items in order, and is no rating." if run.ranks else scale)
    return found["item"].to_list()


def _draw(run: str, checkpoint: str, marked: dict[str, list[Any]], ranks: bool) -> None:
    method = st.segmented_control(
        "Layout",
        METHODS,
        default="pca",
        format_func=TITLES.__getitem__,
        label_visibility="collapsed",
    )
    try:
        drawn = _map(run, checkpoint, method or "pca")
    except LightningCollabError as error:
        st.warning(as_text(error))
        return
    called = {"rated": "you like" if ranks else "you rated", "recommended": "recommended"}
    dark = st.context.theme.type == "dark"
    st.image(png(marked_map(drawn, marked, called, dark=dark)))
    st.caption(
        f"{len(drawn.points):,} items; those that the model holds to be alike are near one another."
    )


def _neighbors(catalog: Catalog, min_ratings: int) -> None:
    item = st.selectbox("Item", catalog.searched, format_func=catalog.names.__getitem__)
    run = catalog.run
    try:
        found = run.similar(item=run.items["item"][item], min_ratings=min_ratings)
    except LightningCollabError as error:
        st.warning(as_text(error))
        return
    st.html(table_html(["item", "similarity", run.rows_called], similar_rows(found)))


def _catalog_of(run: str, checkpoint: str) -> Catalog:
    return Catalog.of(load(run, checkpoint))


def _map_of(run: str, checkpoint: str, method: MapMethod) -> EmbeddingMap:
    loaded = _catalog(run, checkpoint)
    return embedding_map(
        loaded.run,
        "items",
        method,
        min_ratings=loaded.enough_ratings,
        max_points=min(MOST_POINTS, loaded.well_rated),
    )


_catalog = st.cache_resource(show_spinner="Loading the run")(_catalog_of)
_map = st.cache_resource(show_spinner="Laying out the map")(_map_of)

if __name__ == "__main__":
    show(*sys.argv[1:])
