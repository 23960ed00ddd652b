"""The files that TensorBoard's projector reads, with views of it that a click opens."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from google.protobuf import text_format
from numpy.typing import NDArray
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from lightning_collab.errors import InspectionError
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
