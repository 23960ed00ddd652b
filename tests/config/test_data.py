import re
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException
from support import CONF, composed

from lightning_collab.config import validated
from lightning_collab.config.compose import config_error
from lightning_collab.config.section import checked
from lightning_collab.errors import ConfigError

OPTIONS = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
NEEDED = {"csv": ("data.path=ratings.csv",)}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_source_composes_to_a_valid_config(run_config, name):
    data = run_config(f"data={name}", *NEEDED.get(name, ())).data
    assert data.name == name
    # An experiment may set these, whatever the source.
    assert {"batch_size", "cache"} <= set(type(data).model_fields)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_types_hold_the_defaults_of_the_files(name):
    written = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text())
    path = {"path": "ratings.csv"} if name == "csv" else {}
    kind = type(validated(composed(f"data={name}", *NEEDED.get(name, ()))).data)
    assert checked(kind, {"name": name, **path}) == checked(kind, {**written, **path})
    assert set(written) == set(kind.model_fields)


def test_a_frame_is_no_option_of_a_command_and_it_says_what_is():
    with pytest.raises(HydraException) as refused:
        composed("data=frame")
    assert re.search(
        r"^  data=frame: .*lightning_collab\.train\(frame\).* set data=csv data\.path=",
        str(config_error(refused.value, ["data=frame"])),
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.batch_size=0",), r"data\.batch_size"),
        (("data.batch_size=half",), r"data\.batch_size"),
        (("data=ml_latest_small", "data.edition=2017"), r"data\.edition: .*2018 or 2016"),
        (("data=synthetic", "data.ratings=0"), r"data\.ratings: .*greater than or equal to 1"),
        (("data=csv", "data.path=x", "data.rating_range=[null,5]"), r"data\.rating_range.*number"),
        (("data=synthetic", "data.noise=-1"), r"data\.noise: .*greater than or equal to 0"),
        (("data=synthetic", "+data.root=x"), r"data\.root: unknown key"),
        (("data=synthetic", "split=temporal"), r"set data\.timestamps=true"),
        (("data=synthetic", "split=official_fold"), r"comes without official folds"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(run_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_config(*overrides)


def test_a_run_finds_its_file_from_any_folder(run_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = run_config("data=csv", "data.path=ratings.csv", 'data.items_path="~/films.csv"').data
    assert data.path == str(tmp_path / "ratings.csv")
    assert data.items_path == str(Path.home() / "films.csv")
