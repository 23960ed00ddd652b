import json
import re
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from model_runs import MODELS
from safetensors import safe_open
from support import CONF

from lightning_collab.commands.use_a_run import export_command
from lightning_collab.data.features import TimeEffect
from lightning_collab.errors import ConfigError, StorageError
from lightning_collab.inference import onnx_file
from lightning_collab.inference.export_run import data_terms, export_run
from lightning_collab.inference.onnx_file import ExportedModel, ExportError, onnx_bytes

CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
USERS, ITEMS = [500, 559, 501, 1], [10, 54, 99, 12]


def asked_by_the_card(folder, monkeypatch, capsys):
    """What the code on the card answers, run as it stands in the folder."""
    (code,) = CODE.findall((folder / "README.md").read_text())
    monkeypatch.chdir(folder)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert capsys.readouterr().out.startswith("[")
    return names["predict"](USERS, ITEMS)


@pytest.mark.parametrize("name", MODELS)
def test_the_card_of_the_tables_gives_the_predictions(run_of, name, tmp_path, monkeypatch, capsys):
    run = run_of(name)
    export_run(run, "safetensors", tmp_path / "out", overwrite=False)
    found = asked_by_the_card(tmp_path / "out", monkeypatch, capsys)
    np.testing.assert_allclose(found, run.predict(USERS, ITEMS)["prediction"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_card_of_the_graph_gives_the_predictions(run_of, name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    run = run_of(name)
    export_run(run, "onnx", tmp_path / "out", overwrite=False)
    found = asked_by_the_card(tmp_path / "out", monkeypatch, capsys)
    np.testing.assert_allclose(found, run.predict(USERS, ITEMS)["prediction"], atol=1e-5)


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_kept(run_of, monkeypatch):
    pytest.importorskip("onnxruntime")
    run, other = run_of("matrix_product"), run_of("linear_dot_bias")
    content = onnx_file._exported(ExportedModel(other).eval())
    monkeypatch.setattr(onnx_file, "_exported", lambda model: content)
    with pytest.raises(ExportError, match="does not compute what the model does"):
        onnx_bytes(run)


def test_effects_of_time_are_left_out_and_that_is_said(run_of, tmp_path, monkeypatch, capsys):
    one = np.ones(1, dtype=np.int32)
    effect = TimeEffect.fit("user_day", "users", 1, one, one)
    run = run_of("embedding_dot_bias", time_effects=(effect,))
    monkeypatch.setitem(run.config, "features", {"time": {"user_day": {"of": "users"}}})
    export_run(run, "safetensors", tmp_path, overwrite=False)
    assert (
        "effects of time (user_day); this export leaves them out"
        in (tmp_path / "README.md").read_text()
    )
    found = asked_by_the_card(tmp_path, monkeypatch, capsys)
    np.testing.assert_allclose(found, run.predict(USERS, ITEMS)["prediction"], atol=1e-5)


def test_the_files_say_what_they_are(trained, film_run, tmp_path):
    files = export_run(trained, "safetensors", tmp_path, overwrite=False)
    assert [path.name for path in files] == ["model.safetensors", "vocabularies.json", "README.md"]
    vocabularies = json.loads(files[1].read_text())
    assert vocabularies["users"] == trained.users["user"].to_list()
    assert vocabularies["items"] == trained.items["item"].to_list()
    with safe_open(files[0], "numpy") as tensors:
        assert json.loads(tensors.metadata()["model"]) == trained.config["model"]
        assert json.loads(tensors.metadata()["rating_range"]) == [1.0, 5.0]
        assert tensors.get_tensor("users.embeddings").shape == (61, 8)
        assert {"output.low", "output.span"} < set(tensors.keys())
        assert not {name for name in tensors.keys() if "factors" in name}  # noqa: SIM118
    card = files[2].read_text()
    for key in ("val/rmse", "val/mae", "test/rmse", "baseline/bias_rmse"):
        assert f"{film_run.metrics[key]:.4f}" in card
    assert "`random` (val" in card
    assert f"{film_run.metrics['train_ratings']:,} training" in card
    assert "### License of the data" in card
    assert "seed 42" in card


def test_a_run_that_has_not_ended_has_a_card(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(trained.directory, "metrics_file", tmp_path / "none")
    export_run(trained, "safetensors", tmp_path, overwrite=False)
    assert "Nothing: the run has not finished" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "ml_100k"}, "must not be redistributed"),
        ({"name": "ml_latest_small"}, "may be redistributed"),
        ({"name": "ml_20m"}, "no commercial"),
        ({"name": "csv"}, "those of its owner"),
        ({"name": "synthetic"}, "nobody's data"),
    ],
)
def test_the_terms_are_those_of_the_data(data, said):
    assert said in data_terms(data)


def test_an_export_is_not_written_over_unless_that_is_said(trained, tmp_path):
    (tmp_path / "vocabularies.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"vocabularies\.json already exists"):
        export_run(trained, "safetensors", tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["vocabularies.json"]
    export_run(trained, "safetensors", tmp_path, overwrite=True)
    assert (tmp_path / "vocabularies.json").read_text() != "mine"


def test_a_folder_that_cannot_be_made_is_named(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        export_run(trained, "safetensors", tmp_path / "file" / "out", overwrite=False)


@pytest.mark.parametrize(
    ("kind", "package"), [("onnx", "onnxruntime"), ("safetensors", "safetensors.torch")]
)
def test_a_missing_package_says_how_to_get_it(trained, tmp_path, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "onnx", sys)
    with pytest.raises(ExportError, match=r"pip install 'lightning-collab\[export\]'"):
        export_run(trained, kind, tmp_path / "out", overwrite=False)
    assert not (tmp_path / "out").exists()


def test_tables_that_onnx_cannot_hold_are_refused(trained, monkeypatch):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, sys)
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 100)
    with pytest.raises(ExportError, match="set format=safetensors"):
        onnx_bytes(trained)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run=x"], "format: set format"),
        (["run=x", "format=pickle"], "format"),
        ([], "run: set run="),
    ],
)
def test_what_is_asked_must_make_sense(overrides, message):
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(ConfigError, match=message),
    ):
        export_command(compose("export", overrides))


def test_the_default_place_is_in_the_run(trained, film_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lightning_collab.commands.use_a_run.export_run",
        lambda run, kind, folder, overwrite: [
            (tmp_path / str(n)).write_text(str(folder)) and tmp_path / str(n) for n in range(3)
        ],
    )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"run={film_run.directory.path}", "format=safetensors"]
        written = export_command(compose("export", overrides))
    assert written[0].read_text() == str(film_run.directory.path / "export_safetensors")
    assert "model" in capsys.readouterr().out
