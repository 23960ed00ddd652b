import polars as pl

from lightning_collab.inference.table_stream import write_stream

FRAME = pl.DataFrame(
    {
        "title": ["=cmd()", "Heat (1995)"],
        "genres": [["Drama", "Horror"], ["-x"]],
        "prediction": [-1.5, 2.0],
    }
)


def test_csv_is_for_spreadsheets_and_parquet_is_as_it_is(tmp_path):
    for name in ("a.csv", "a.parquet"):
        write_stream(tmp_path / name, iter([FRAME, FRAME]), FRAME.schema)
    twice = pl.concat([FRAME, FRAME])
    assert pl.read_parquet(tmp_path / "a.parquet").equals(twice)
    found = pl.read_csv(tmp_path / "a.csv")
    assert found["title"].to_list() == ["'=cmd()", "Heat (1995)"] * 2
    assert found["genres"].to_list() == ["Drama|Horror", "'-x"] * 2
    assert found["prediction"].equals(twice["prediction"])


def test_no_frames_are_a_file_with_names(tmp_path):
    write_stream(tmp_path / "a.csv", iter([]), FRAME.schema)
    assert (tmp_path / "a.csv").read_text() == "title,genres,prediction\n"
