"""The command `lightning-collab`: names, help, config groups of one's own, commands to paste."""

import os
import pickle
import shlex
import subprocess
import sys

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from support import CONF, REPOSITORY

from hydra_plugins.lightning_collab_sweepers.further_configs import FurtherConfigs
from lightning_collab import __version__, cli
from lightning_collab.commands.help import help_text
from lightning_collab.runs import invocation
from lightning_collab.runs.invocation import CALLED_AS, command_line, hydra_value, module_command


@pytest.fixture(autouse=True)
def _as_installed(monkeypatch):
    monkeypatch.setenv(CALLED_AS, "lightning-collab %s")


def typed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["lightning-collab", *words])
    cli.main()


def test_alone_it_names_all_commands(monkeypatch, capsys):
    typed(monkeypatch)
    said = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name.replace('_', '-')} " in said
    typed(monkeypatch, "--help")
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"]])
def test_the_version_is_ours_and_not_that_of_hydra(words, monkeypatch, capsys):
    typed(monkeypatch, *words)
    assert capsys.readouterr().out == f"lightning-collab {__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "did you mean 'train'?"),
        ("crossvalidate", "did you mean 'cross-validate'?"),
        ("find_rl", "did you mean 'find-lr'?"),
        ("xyz", "the commands are train, find-lr, "),
        ("seed=1", "type a command first, such as: lightning-collab train seed=1"),
    ],
)
def test_an_unknown_command_gets_a_hint(word, hint, monkeypatch):
    with pytest.raises(SystemExit) as ended:
        typed(monkeypatch, word)
    assert str(ended.value.code).startswith(f"error: unknown command {word!r}; {hint}")


@pytest.mark.parametrize("name", ["find-lr", "find_lr"])
def test_a_name_is_taken_with_either_stroke(name, monkeypatch, capsys):
    typed(monkeypatch, name, "--help")
    assert "lightning-collab find-lr experiment=lecture_dot_bias" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_has_examples_and_keys(name):
    said = help_text(name, ["--help"])
    assert f"  lightning-collab {name.replace('_', '-')}" in said
    assert "$" not in said.split("Keys and their values")[0]
    first_key = {"train": "data:", "find_lr": "data:", "cross_validate": "data:"}.get(name)
    assert f"\n{first_key or ('runs:' if name == 'report' else 'run:')}" in said


def test_help_lists_the_options_of_each_group_and_takes_overrides():
    said = help_text("train", ["optimizer=sgd", "--help"])
    folders = {path.parent for path in CONF.glob("[!h]*/*.yaml")}
    assert len(folders) > 10
    for folder in folders:
        options = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        assert f"\n{folder.name}: {options}\n" in said
    assert "momentum:" in said
    assert "hydra" not in said.split("Keys and their values")[1].split("Any key above")[0]


def test_help_names_the_way_that_was_called(monkeypatch):
    monkeypatch.setenv(CALLED_AS, "scripts/%s.py")
    said = help_text("find_lr", ["--help"])
    assert "\n  scripts/find_lr.py experiment=lecture_dot_bias\n" in said
    assert "lightning-collab find" not in said


def test_help_of_a_config_that_there_is_not_is_one_message():
    with pytest.raises(SystemExit) as ended:
        help_text("train", ["model=nonsense", "--help"])
    assert "embedding_dot_bias" in str(ended.value.code)


def test_scripts_are_the_commands_and_can_be_run():
    for name in cli.COMMANDS:
        script = REPOSITORY / "scripts" / f"{name}.py"
        assert script.read_text().startswith("#!/usr/bin/env python\n")
        assert os.access(script, os.X_OK)


def test_a_script_prints_itself_in_commands(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from lightning_collab.runs.invocation import command_line, remember_call\n"
        "remember_call(Path('my scripts/train.py'))\n"
        "print(command_line('find_lr', resume='a'))"
    )
    bare = {key: value for key, value in os.environ.items() if key != CALLED_AS}
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**bare, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shlex.split(done.stdout)[0] == "my scripts/find_lr.py"
    assert shlex.split(done.stdout)[1:] == ["resume=a"]


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1))
def test_what_is_printed_can_be_pasted(text):
    line = command_line("train", "--config-dir", text, resume=text)
    words = shlex.split(line)
    assert words[:4] == ["lightning-collab", "train", "--config-dir", text]
    (override,) = words[4:]
    assert OverridesParser.create().parse_override(override).value() == text


def test_a_path_with_a_space_is_in_double_quotes():
    assert command_line("evaluate", run="my run") == "lightning-collab evaluate 'run=\"my run\"'"
    assert command_line("evaluate", run="a/2026-01-01_10") == (
        "lightning-collab evaluate run=a/2026-01-01_10"
    )
    assert hydra_value("2026") == '"2026"'


def test_a_process_of_its_own_is_the_module_with_the_same_places_of_configs(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "train", "-m", "-cd", "a b", "--config-dir=c", "seed=1"])
    assert module_command("train", ["seed=2"]) == [
        *(sys.executable, "-m", "lightning_collab", "train"),
        *("-cd", "a b", "--config-dir=c", "seed=2"),
    ]


def test_a_task_can_be_sent_to_another_process():
    task = cli.Task("train", ("lightning-collab", "train"))
    assert pickle.loads(pickle.dumps(task)) == task


def test_an_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        typed(monkeypatch, "train", "-m", "seed=1,2", "hydra/launcher=joblib")
    assert "pip install 'lightning-collab[joblib]'" in str(ended.value.code)


def test_own_config_groups_are_found_and_do_not_shadow_ours(tmp_path):
    for file, text in (
        ("experiment/mine.yaml", "# @package _global_\nseed: 7\n"),
        ("model/embedding_dot_bias.yaml", "name: embedding_dot_bias\nfactors: 1\n"),
        ("train.yaml", "seed: 8\n"),
    ):
        path = tmp_path / "conf" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "lightning_collab", "train", "experiment=mine", "--cfg", "job"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\nseed: 7\n" in done.stdout
    assert "\n  factors: 50\n" in done.stdout
    hidden = tmp_path / "conf/model/embedding_dot_bias.yaml"
    assert f"{hidden} is ignored: {CONF / 'model/embedding_dot_bias.yaml'} comes" in done.stderr


@pytest.mark.parametrize(
    ("main", "found"), [(str(CONF), True), ("/somebody/elses", False), ("pkg://other", False)]
)
def test_only_our_commands_look_into_the_working_folder(main, found, tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("main", main)
    FurtherConfigs().manipulate_search_path(path)
    added = [each.path for each in path.get_path()[2:]]
    assert added == ([(tmp_path / "conf").as_uri(), "lightning-collab://"] if found else [])


def test_our_own_folder_is_not_looked_into_twice(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert invocation.working_conf_folder() is None


def test_a_program_that_the_shell_does_not_find_is_printed_with_its_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "tensorboard"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "env" / "python"))
    assert invocation.tensorboard_line("a b") == ("env/tensorboard --logdir 'a b' --host localhost")
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert invocation.tensorboard_line("a").startswith("tensorboard ")
