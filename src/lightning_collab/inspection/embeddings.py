"""The embeddings of one side of a model, with labels, and as TensorBoard's projector reads them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from google.protobuf import text_format
from numpy.typing import NDArray
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from torch import Tensor

from lightning_collab.data.vocabulary import ID_COLUMN, Side
from lightning_collab.errors import InspectionError
from lightning_collab.models import RatingModel
from lightning_collab.runs.files import write_atomically

CONFIG_NAME = "projector_config.pbtxt"
FOLDER = "projector"
# The page asks for no more rows than these.
MAX_ROWS = 100_000


def write_embedding(
    logdir: Path,
    tag: str,
    vectors: NDArray[np.float32],
    metadata: pl.DataFrame,
    bookmarks: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Add an embedding to the projector page of a run, or replace the one of the same tag.

    The list of embeddings is written last, and whole: a reader never finds an entry whose files
    are missing.

    Args:
        logdir: where the run's event files are.
        tag: name in the page's list; may have slashes.
        vectors: float32 [n, factors].
        metadata: n rows, at least two columns; lists and missing values are not allowed.
        bookmarks: views that a click opens.

    Raises:
        InspectionError: the list of embeddings that is there cannot be read.
    """
    config_file = logdir / CONFIG_NAME
    config = read_projector_config(config_file)
    folder = logdir / FOLDER / tag
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "tensor", _tensor_bytes(vectors))
    write_atomically(folder / "metadata.tsv", _tsv(metadata))
    # Paths relative to the list, so that a run directory can be moved, and with forward slashes.
    relative = f"{FOLDER}/{tag}"
    info = EmbeddingInfo(
        tensor_name=tag,
        tensor_shape=vectors.shape,
        tensor_path=f"{relative}/tensor",
        metadata_path=f"{relative}/metadata.tsv",
    )
    if bookmarks:
        write_atomically(folder / "bookmarks.json", json.dumps(list(bookmarks)))
        info.bookmarks_path = f"{relative}/bookmarks.json"
    others = [each for each in config.embeddings if each.tensor_name != tag]
    del config.embeddings[:]
    config.embeddings.extend(sorted([*others, info], key=lambda each: each.tensor_name))
    write_atomically(config_file, text_format.MessageToString(config))


def read_projector_config(path: Path) -> ProjectorConfig:
    """The list of embeddings of a run; empty where there is none yet.

    Args:
        path: of projector_config.pbtxt.

    Raises:
        InspectionError: it is not such a list.
    """
    config = ProjectorConfig()
    if path.is_file():
        try:
            text_format.Parse(path.read_text(), config)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise InspectionError(
                f"{path}: not readable as TensorBoard's list of embeddings: {error}\n"
                "Remove it to start a new list"
            ) from error
    return config


def _tensor_bytes(vectors: NDArray[np.float32]) -> bytes:
    """Raw floats where TensorBoard will know them as such, else text.

    TensorBoard takes a file that is not valid UTF-8 for raw little-endian floats, and any other
    for tab-separated text. Real embeddings practically never are valid UTF-8, but zeros are.
    """
    raw = vectors.astype("<f4").tobytes()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
    rows = ("\t".join(repr(float(value)) for value in row) for row in vectors)
    return ("\n".join(rows) + "\n").encode()


def _tsv(metadata: pl.DataFrame) -> str:
    """Tab-separated text with a header; tabs and line breaks in values become spaces."""
    flat = metadata.with_columns(pl.col(pl.String).str.replace_all(r"[\t\r\n]+", " "))
    return flat.write_csv(separator="\t", quote_style="never", float_precision=4)


# What the views are colored by, where the metadata has it.
COLORS = ("genre", "occupation", "mean_rating")
# Of the axes that a person can choose; the page wants to be told that they are empty.
ENDS = ("XLeft", "XRight", "YUp", "YDown")


def bookmarks(columns: Sequence[str], points: int, factors: int) -> list[dict[str, Any]]:
    """One PCA view for each of `COLORS` that there is.

    The page has computed its PCA by the time that the list of bookmarks can be clicked, so the
    positions are not in the bookmark; the other keys are all that the page reads.

    Args:
        columns: of the metadata, the name first.
        points: how many are shown.
        factors: length of the embeddings.
    """
    return [
        {
            "label": f"PCA colored by {color.replace('_', ' ')}",
            "isSelected": False,
            "selectedProjection": "pca",
            "pcaComponentDimensions": list(range(min(3, factors))),
            "dataSetDimensions": [points, factors],
            "projections": [],
            "tSNEIteration": 0,
            "tSNEPerplexity": 30,
            "tSNELearningRate": 10,
            "tSNEis3d": True,
            "umapIs3d": True,
            "umapNeighbors": 15,
            "umapMinDist": 0.1,
            "selectedPoints": [],
            "filteredPoints": None,
            "shuffledDataIndices": None,
            "cameraDef": {
                "orthographic": factors < 3,
                "position": [0.45, 0.9, 1.6],
                "target": [0, 0, 0],
                "zoom": 1,
            },
            "selectedColorOptionName": color,
            "selectedLabelOption": columns[0],
            "forceCategoricalColoring": False,
            "customSelectedSearchByMetadataOption": columns[0],
            **{f"custom{end}Text": "" for end in ENDS},
            **{f"custom{end}Regex": False for end in ENDS},
        }
        for color in COLORS
        if color in columns
    ]


NO_GENRE = "no genre"
# Of points without training ratings, in the column `known_by`.
BY_FEATURES = "features alone"


def described(known: pl.DataFrame, side: Side) -> pl.DataFrame:
    """A table for labels, colors and search: no lists, the name first.

    Args:
        known: users or items, as `TrainedModel` has them.
        side: `users` or `items`.

    Returns:
        `title` (or `name` where there are no titles), the raw id, then the features: `genre` (the
        first one) and `genres` (all, separated by `|`) in place of the list, `ratings` and
        `mean_rating`; last, where some have no training ratings, `known_by`: `ratings` or
        `features alone`.
    """
    column = ID_COLUMN[side]
    if "title" in known.columns:
        name = pl.col("title").fill_null(pl.format(f"{column} {{}}", column)).alias("title")
    else:
        name = pl.format(f"{column} {{}}", column).alias("name")
    name = name.str.replace_all(r"\s+", " ")
    columns: list[pl.Expr] = [name, pl.col(column)]
    for feature in known.columns:
        if feature in (column, "title"):
            continue
        if feature == "genres":
            genres = pl.col("genres").fill_null(pl.lit([], dtype=pl.List(pl.String)))
            columns += [
                genres.list.first().fill_null(NO_GENRE).alias("genre"),
                genres.list.join("|").alias("genres"),
            ]
        elif not known[feature].dtype.is_nested():
            columns.append(pl.col(feature))
    cold = pl.col("ratings") == 0
    if known.select(cold.any()).item():
        by = pl.when(cold).then(pl.lit(BY_FEATURES)).otherwise(pl.lit("ratings"))
        columns.append(by.alias("known_by"))
    return known.select(columns)


def most_rated(known: pl.DataFrame, limit: int = MAX_ROWS) -> np.ndarray[Any, Any]:
    """Positions of the most rated rows, in the order of the table.

    Args:
        known: with `ratings`.
        limit: how many at most.
    """
    order = np.argsort(-known["ratings"].to_numpy(), kind="stable")[:limit]
    return np.sort(order)


class SideEmbeddings(NamedTuple):
    """What a model has learned of its users or of its items; row `k` is of the k-th known id.

    Attributes:
        vectors: float32 [known ids, factors], on the CPU.
        biases: float32 [known ids], on the CPU; None where the model has none.
    """

    vectors: Tensor
    biases: Tensor | None


def side_embeddings(model: RatingModel, side: Side) -> SideEmbeddings:
    """A copy of the embeddings of users or items, without the unknown row.

    Args:
        model: any model of ratings.
        side: `users` or `items`.

    Raises:
        InspectionError: the model has no such embeddings.
    """
    tables = model.effective_tables()
    if side not in tables.get("embeddings", {}):
        raise InspectionError(
            f"{type(model).__name__} has no embeddings of {side}, so there is nothing to compare "
            "or to draw; use a run of another model"
        )
    vectors = tables["embeddings"][side][1:]
    biases = tables.get("biases", {}).get(side)
    return SideEmbeddings(
        vectors.to("cpu", torch.float32, copy=True),
        None if biases is None else biases[1:, 0].to("cpu", torch.float32, copy=True),
    )
