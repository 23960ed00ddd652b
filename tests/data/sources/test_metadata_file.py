import pytest

from lightning_collab.data.files.text_columns import check_file
from lightning_collab.errors import DataError


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"folder; name the file"):
        check_file(tmp_path)
    with pytest.raises(DataError, match=r"no such file"):
        check_file(tmp_path / "ratings.csv")
    (tmp_path / "ratings.csv").write_text("")
    check_file(tmp_path / "ratings.csv")
