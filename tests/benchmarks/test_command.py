from benchmarks.command import markdown, shown
from benchmarks.config import BenchmarkConfig

MACHINE = {"processor": "Z80", "cores": 1, "torch": "2.13.0", "load": 0.25}
PEER = {"python": None}
SETTINGS = BenchmarkConfig.model_validate(
    {
        "group": "peers",
        "repeats": 7,
        "threads": 1,
        "peers": {
            "factors": 50,
            "epochs": 30,
            "target_rmse": 0.93,
            **dict.fromkeys(("cornac", "surprise", "libmf", "fastai"), PEER),
        },
        "scale": {
            "factors": 16,
            "small_items": 10_000,
            "large_items": 20_000,
            "few_ratings": 100_000,
            "many_ratings": 200_000,
        },
        "ranking": {"factors": 64, "interactions": 1000000, "cornac": {}, "implicit": {}},
        "gibbs": {"threads": 2, "many_ratings": None, "many_sweeps": 5},
        "whole_runs": {"million": "synthetic", "twenty_million": None, "large_repeats": 1},
    }
)


def test_a_table_for_the_documentation():
    text = markdown(SETTINGS, {"a/over_b": 12.3456, "c": "not installed"}, {}, MACHINE)
    assert text.splitlines() == [
        "`scripts/benchmark.py group=peers repeats=7 threads=1` on Z80, 1 cores, torch 2.13.0, "
        "load 0.25 when it began:",
        "",
        "| measure | value |",
        "| --- | ---: |",
        "| `a/over_b` | 12.35 |",
        "| `c` | not installed |",
    ]


def test_an_aim_stands_beside_what_was_reached():
    text = markdown(SETTINGS, {"a": 2.0, "b": 3.0}, {"a": "at least 9"}, MACHINE)
    assert text.splitlines()[-2:] == ["| `a` | 2 | at least 9 |", "| `b` | 3 |  |"]


def test_what_was_typed_of_the_group_is_part_of_the_command():
    text = markdown(SETTINGS, {"a": 2.0}, {}, MACHINE, typed=["peers.epochs=3"])
    assert text.startswith(
        "`scripts/benchmark.py group=peers repeats=7 threads=1 peers.epochs=3` on"
    )


def test_a_group_may_have_tables_of_its_own():
    settings = SETTINGS.model_copy(update={"group": "whole_runs"})
    text = markdown(settings, {"million/decay/ours/quality": 0.5}, {}, MACHINE)
    assert " (`million/decay`):\n" in text
    assert "| ours |  | 0.5 |" in text


def test_numbers_are_shown_with_four_digits():
    assert shown(0.0123456) == "0.01235"
    assert shown(18_123_456.7) == "18,123,457"
