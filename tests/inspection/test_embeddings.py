import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector import projector_plugin

from lightning_collab.errors import InspectionError
from lightning_collab.inspection.embeddings import bookmarks, read_projector_config, write_embedding

METADATA = pl.DataFrame({"title": ["a", "b\tc\nd", 'e "f"'], "ratings": [1, 2, None]})


def tags(logdir):
    return [
        each.tensor_name
        for each in read_projector_config(logdir / "projector_config.pbtxt").embeddings
    ]


def as_tensorboard_reads(logdir, tag):
    """The tensor through TensorBoard's own readers, chosen as its plugin chooses them."""
    config = read_projector_config(logdir / "projector_config.pbtxt")
    info = next(each for each in config.embeddings if each.tensor_name == tag)
    path = projector_plugin._rel_to_abs_asset_path(
        info.tensor_path, str(logdir / "projector_config.pbtxt")
    )
    try:
        return projector_plugin._read_tensor_tsv_file(path)
    except UnicodeDecodeError:
        return projector_plugin._read_tensor_binary_file(path, info.tensor_shape)


@pytest.mark.parametrize(
    "vectors",
    [
        np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32),
        np.zeros((3, 5), dtype=np.float32),
        np.full((3, 2), 0.1, dtype=np.float32),
    ],
    ids=["usual", "zeros", "constant"],
)
def test_tensorboard_reads_the_very_numbers(tmp_path, vectors):
    write_embedding(tmp_path, "items/epoch_001", vectors, METADATA)
    read = as_tensorboard_reads(tmp_path, "items/epoch_001")
    np.testing.assert_array_equal(read, vectors)


def test_earlier_tags_are_kept_and_the_same_tag_is_replaced(tmp_path):
    one, two = np.ones((3, 2), np.float32), np.full((3, 2), -2.5, np.float32)
    write_embedding(tmp_path, "items/epoch_002", one, METADATA)
    write_embedding(tmp_path, "items/epoch_001", one, METADATA)
    write_embedding(tmp_path, "items/epoch_002", two, METADATA)
    assert tags(tmp_path) == ["items/epoch_001", "items/epoch_002"]
    np.testing.assert_array_equal(as_tensorboard_reads(tmp_path, "items/epoch_002"), two)
    np.testing.assert_array_equal(as_tensorboard_reads(tmp_path, "items/epoch_001"), one)


def test_entries_of_another_writer_are_kept(tmp_path):
    (tmp_path / "projector_config.pbtxt").write_text('embeddings { tensor_name: "theirs" }')
    write_embedding(tmp_path, "items", np.ones((3, 2), np.float32), METADATA)
    assert tags(tmp_path) == ["items", "theirs"]


def test_metadata_has_a_line_for_each_row_and_a_header(tmp_path):
    write_embedding(tmp_path, "items", np.ones((3, 2), np.float32), METADATA)
    text = (tmp_path / "projector" / "items" / "metadata.tsv").read_text()
    assert text.splitlines() == ["title\tratings", "a\t1", "b c d\t2", 'e "f"\t']


def test_paths_are_relative_and_inside_the_directory_of_the_list(tmp_path):
    views = bookmarks(["title", "genre"], 3, 2)
    write_embedding(tmp_path, "items", np.ones((3, 2), np.float32), METADATA, views)
    info = read_projector_config(tmp_path / "projector_config.pbtxt").embeddings[0]
    for path in (info.tensor_path, info.metadata_path, info.bookmarks_path):
        assert not Path(path).is_absolute()
        assert (tmp_path / path).is_file()


def test_a_list_that_cannot_be_read_is_left_and_named(tmp_path):
    path = tmp_path / "projector_config.pbtxt"
    path.write_text("embeddings { no such field }")
    with pytest.raises(InspectionError, match=r"projector_config\.pbtxt: not readable"):
        write_embedding(tmp_path, "items", np.ones((3, 2), np.float32), METADATA)
    assert path.read_text() == "embeddings { no such field }"


def test_bookmarks_are_only_of_columns_that_there_are():
    assert [b["selectedColorOptionName"] for b in bookmarks(["title", "ratings"], 9, 5)] == []
    views = bookmarks(["title", "genre", "mean_rating"], 9, 2)
    assert [b["selectedColorOptionName"] for b in views] == ["genre", "mean_rating"]
    assert views[0]["pcaComponentDimensions"] == [0, 1]


def test_tensorflow_beside_tensorboard_does_not_matter(tmp_path):
    """TensorFlow's gfile has no `get_filesystem`, which torch's add_embedding calls."""
    package = tmp_path / "site" / "tensorflow"
    (package / "io").mkdir(parents=True)
    (package / "__init__.py").write_text("from tensorflow import io\n__version__ = '2.20.0'\n")
    (package / "io" / "__init__.py").write_text("from tensorflow.io import gfile\n")
    (package / "io" / "gfile.py").write_text("def exists(path): raise AssertionError('not ours')\n")
    code = (
        "import sys, numpy, polars, pathlib, tensorflow\n"
        "from lightning_collab.inspection.embeddings import write_embedding\n"
        "frame = polars.DataFrame({'a': ['x'], 'b': [1]})\n"
        "write_embedding(pathlib.Path(sys.argv[1]), 't', numpy.ones((1, 2), 'float32'), frame)\n"
        "assert not hasattr(tensorflow.io.gfile, 'get_filesystem')\n"
    )
    logdir = tmp_path / "log"
    logdir.mkdir()
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, str(logdir)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert tags(logdir) == ["t"]


def test_the_list_is_valid_for_tensorboards_own_parser(tmp_path):
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    write_embedding(tmp_path, "items", np.ones((3, 2), np.float32), METADATA)
    text = (tmp_path / "projector_config.pbtxt").read_text()
    parsed = text_format.Parse(text, ProjectorConfig())
    assert list(parsed.embeddings[0].tensor_shape) == [3, 2]
