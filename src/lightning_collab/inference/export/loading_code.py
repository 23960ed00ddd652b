"""The code on a model card, by which the model is used without lightning-collab."""

from lightning_collab.models import RatingModel

_VOCABULARIES = """\
import json

import numpy as np
IMPORT

vocabularies = json.load(open("vocabularies.json"))
user_row = {raw: row for row, raw in enumerate(vocabularies["users"], 1)}
item_row = {raw: row for row, raw in enumerate(vocabularies["items"], 1)}


def rows(ids, known):
    return np.array([known.get(raw, 0) for raw in ids])  # 0: an id that the model does not know
"""

_ONNX = """
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


def predict(users, items):
    pairs = {"user_row": rows(users, user_row), "item_row": rows(items, item_row)}
    return session.run(["rating"], pairs)[0]


print(predict(EXAMPLE))
"""

_TABLES = """
tensors = load_file("model.safetensors")


def predict(users, items):
    users, items = rows(users, user_row), rows(items, item_row)
    p, q = tensors["users.embeddings"][users], tensors["items.embeddings"][items]
FORMULA
    return rating.clip(LOW, HIGH)


print(predict(EXAMPLE))
"""


def onnx_code(example: str) -> str:
    """Code that asks a model.onnx.

    Args:
        example: users and items, as Python has them.
    """
    code = _VOCABULARIES.replace("IMPORT", "import onnxruntime") + _ONNX
    return code.replace("EXAMPLE", example)


def safetensors_code(
    model: RatingModel, rating_range: tuple[float, float], example: str
) -> str | None:
    """Code that computes ratings from a model.safetensors with numpy alone.

    Args:
        model: that was exported.
        rating_range: lowest and highest rating.
        example: users and items, as Python has them.

    Returns:
        None for a model whose formula is not known here.
    """
    lines = model.numpy_formula()
    if not lines:
        return None
    code = _TABLES.replace("FORMULA", "\n".join(f"    {line}" for line in lines))
    low, high = rating_range
    code = code.replace("LOW", f"{low:g}").replace("HIGH", f"{high:g}")
    imports = _VOCABULARIES.replace("IMPORT", "from safetensors.numpy import load_file")
    return (imports + code).replace("EXAMPLE", example)
