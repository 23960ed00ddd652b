"""Views of the projector page that a click opens."""

from collections.abc import Sequence
from typing import Any

COLOURS = ("genre", "occupation", "mean_rating")
"""What the views are coloured by, where the metadata has it."""
ENDS = ("XLeft", "XRight", "YUp", "YDown")
"""Of the axes that a person can choose; the page wants to be told that they are empty."""


def bookmarks(columns: Sequence[str], points: int, factors: int) -> list[dict[str, Any]]:
    """One PCA view for each of `COLOURS` that there is.

    The page has computed its PCA by the time that the list of bookmarks can be clicked, so the
    positions are not in the bookmark; the other keys are all that the page reads.

    Args:
        columns: of the metadata, the name first.
        points: how many are shown.
        factors: length of the embeddings.
    """
    return [
        {
            "label": f"PCA coloured by {colour.replace('_', ' ')}",
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
            "selectedColorOptionName": colour,
            "selectedLabelOption": columns[0],
            "forceCategoricalColoring": False,
            "customSelectedSearchByMetadataOption": columns[0],
            **{f"custom{end}Text": "" for end in ENDS},
            **{f"custom{end}Regex": False for end in ENDS},
        }
        for colour in COLOURS
        if colour in columns
    ]
