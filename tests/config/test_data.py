from pathlib import Path

import pytest
from support import CONF

from lightning_collab.errors import ConfigError

OPTIONS = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
NEEDED = {"csv": ("data.path=ratings.csv",)}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_source_composes_to_a_valid_config(run_config, name):
    data = run_config(f"data={name}", *NEEDED.get(name, ())).data
    assert data.name == name
    # An experiment may set these, whatever the source.
    assert {"batch_size", "cache"} <= set(type(data).model_fields)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.batch_size=0",), r"data\.batch_size"),
        (("data.batch_size=half",), r"data\.batch_size"),
        (("data=ml_latest_small", "data.edition=2017"), r"data\.edition: .*2018 or 2016"),
        (("data=synthetic", "data.ratings=0"), r"data\.ratings: .*greater than or equal to 1"),
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
