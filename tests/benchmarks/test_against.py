import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import engines, inference, ranks, scale
from benchmarks.against import THIS, Checkout, compared, other_checkout, paired_speeds, speeds
from lightning_collab.errors import ConfigError

# A checkout of another layout: a script, and a package that says how fast it is.
SCRIPT = """
import json, sys
from pathlib import Path
import lightning_collab
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
if given["group"] != "engines":
    sys.exit("Traceback\\nerror: there is no such group")
folder = Path(given["hydra.run.dir"])
found = {"engines/case/fused_seconds": lightning_collab.SECONDS, "given": json.dumps(given)}
(folder / "benchmark.json").write_text(json.dumps(found))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for file, text in {
        "scripts/benchmark.py": SCRIPT,
        "src/lightning_collab/__init__.py": "SECONDS = 0.25",
    }.items():
        path = tmp_path / "earlier" / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return Checkout(tmp_path / "earlier")


def test_a_checkout_measures_its_own_package_in_a_fresh_process(checkout):
    measured = checkout.measure("engines", 2, ["scale.factors=3"])
    assert measured["engines/case/fused_seconds"] == 0.25
    given = json.loads(measured["given"])
    assert (given["repeats"], given["threads"]) == ("1", "2")
    assert given["scale.factors"] == "3"
    assert not Path(given["hydra.run.dir"]).exists()


def test_a_checkout_that_cannot_measure_says_why_in_its_own_words(checkout):
    with pytest.raises(ConfigError, match=r"fails in .*earlier: error: there is no such group"):
        checkout.measure("data", threads=1)


def test_another_checkout_is_found(checkout):
    assert other_checkout(str(checkout.path)) == checkout


@pytest.mark.parametrize("lacking", ["scripts/benchmark.py", "src/lightning_collab/__init__.py"])
def test_a_folder_that_is_no_checkout_is_refused(checkout, lacking):
    (checkout.path / lacking).unlink()
    with pytest.raises(ConfigError, match=f"no checkout of lightning-collab, {lacking} is not"):
        other_checkout(str(checkout.path))


def test_a_package_that_cannot_be_imported_is_refused(checkout):
    (checkout.path / "src/lightning_collab/__init__.py").write_text("import no_such_module")
    with pytest.raises(ConfigError, match="No module named 'no_such_module'"):
        other_checkout(str(checkout.path))


def test_a_checkout_is_named_by_its_commit(checkout):
    assert checkout.commit() == "earlier"
    git = ["git", "-C", str(checkout.path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert head.stdout.startswith(checkout.commit())
    (checkout.path / "scripts/benchmark.py").write_text("")
    assert checkout.commit().endswith("-dirty")


def test_both_warm_up_and_then_take_turns_in_beginning():
    asked = []

    def once(name, values):
        def speeds():
            asked.append(name)
            return {"row": float(next(values))}

        return speeds

    pairs = paired_speeds(
        once("this", iter([1, 10, 20, 30])), once("other", iter([2, 11, 21, 31])), repeats=3
    )
    assert asked == ["other", "this", "this", "other", "other", "this", "this", "other"]
    assert pairs == [
        ({"row": 10.0}, {"row": 11.0}),
        ({"row": 20.0}, {"row": 21.0}),
        ({"row": 30.0}, {"row": 31.0}),
    ]


def test_ratios_are_medians_over_pairs_and_the_mean_is_geometric():
    pairs = [
        ({"a": 4.0, "b": 1.0, "bare": 3.0}, {"a": 1.0, "b": 2.0, "bare": 1.0}),
        # The machine was ten times slower for this pair.
        ({"a": 0.2, "b": 0.1, "bare": 0.1}, {"a": 0.1, "b": 0.1, "bare": 0.1}),
        ({"a": 1.0, "b": 1.0, "bare": 1.0}, {"a": 1.0, "b": 2.0, "bare": 1.0}),
    ]
    for this, other in pairs:
        this["new"] = other["old"] = 1.0
    result, aims = compared("engines", pairs, controls=("bare",))
    assert result == {
        "a/this_over_other": 2.0,
        "b/this_over_other": 0.5,
        "bare/this_over_other": 1.0,
        "new/this_over_other": "only this checkout has it",
        "old/this_over_other": "only the other checkout has it",
        "engines/geometric_mean/this_over_other": pytest.approx(1.0),
        "engines/lowest/this_over_other": 0.5,
    }
    assert set(aims) == {
        "a/this_over_other",
        "b/this_over_other",
        "engines/geometric_mean/this_over_other",
    }


def test_checkouts_without_a_common_row_are_refused():
    with pytest.raises(ConfigError, match="no row of group=engines in common"):
        compared("engines", [({"a": 1.0}, {"b": 1.0})])


def test_of_what_is_measured_only_speeds_are_compared():
    measured = {
        "engines/ml_100k_batch_64/fused_seconds": 0.02,
        "engines/ml_100k_batch_64/eager_seconds": 0.5,
        "engines/ml_100k_batch_64/fused_over_eager": 25.0,
        "engines/per_sample/ratings_per_second": 2e7,
        "engines/per_sample/ratings_per_second_of_the_epoch": 1e7,
        "engines/roofline/bytes_per_second": 2e10,
        "engines/threads/small_tables/two_ratings_per_second": 3e7,
        "engines/batch_8192/compiled_over_eager": "no compiler",
        "scale/ratings/per_sample/many_ns": 250.0,
        "scale/ratings/per_sample/many_over_few": 1.9,
        "one_user/milliseconds": 0.5,
        "load/1m_seconds": 2.0,
        "pairs/1m_by_user_per_second": 3e7,
        "ranks/large_tables/whole_model_over_measured_seconds": 1.1,
        "machine": {"cores": 2},
    }
    found = speeds(measured)
    assert found == {
        "engines/ml_100k_batch_64/fused": 50.0,
        "engines/ml_100k_batch_64/eager": 2.0,
        "engines/per_sample/ratings_per_second": 2e7,
        "engines/per_sample/ratings_per_second_of_the_epoch": 1e7,
        "engines/threads/small_tables/two_ratings_per_second": 3e7,
        "scale/ratings/per_sample/many": pytest.approx(0.004),
        "one_user": 2.0,
        "load/1m": 0.5,
        "pairs/1m_by_user_per_second": 3e7,
    }
    assert all(module.CONTROLS == () for module in (inference, ranks, scale))
    assert set(engines.CONTROLS) & set(found) == {"engines/ml_100k_batch_64/eager"}


def test_this_checkout_is_the_one_of_these_tests():
    assert Path(__file__).is_relative_to(THIS.path)
