"""The documentation's site: complete, and all that it needs is in it."""

import re
import subprocess
import sys

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from pydantic import BaseModel
from support import CONF, REPOSITORY

import lightning_collab as lc
from lightning_collab.commands import COMMANDS
from lightning_collab.config.registry import REGISTRIES
from lightning_collab.config.run import RunConfig
from website.conf_files import comments_in, read_option
from website.config_reference import OF_COMMANDS, SWEEPERS, config_reference
from website.links import for_the_site
from website.notebook_page import notebook_page
from website.types_in_words import comment_of, in_words

SITE = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
PAGE = config_reference()
# Made when the site is.
MADE = {"config.md", "changelog.md", "tutorial.md"}


def in_nav(node):
    if isinstance(node, str):
        return [node]
    parts = node if isinstance(node, list) else node.values()
    return [page for part in parts for page in in_nav(part)]


def test_each_page_is_in_the_navigation_once():
    pages = {
        path.relative_to(REPOSITORY / "docs").as_posix()
        for path in (REPOSITORY / "docs").rglob("*.md")
    }
    shown = in_nav(SITE["nav"])
    assert sorted(shown) == sorted(pages | MADE)


def test_what_is_broken_is_an_error():
    assert SITE["strict"]
    checks = [each for kind in SITE["validation"].values() for each in kind.values()]
    assert len(checks) == 7
    assert set(checks) == {"warn"}


def test_each_public_name_is_on_the_api_page():
    named = re.findall(r"^::: (\S+)$", (REPOSITORY / "docs/api.md").read_text(), re.MULTILINE)
    public = [getattr(lc, name) for name in lc.__all__ if not name.startswith("__")]
    assert sorted(named) == sorted(f"{each.__module__}.{each.__qualname__}" for each in public)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[data](data.md)", "[data](data.md)"),
        ("[a](data.md#your-own-file)", "[a](data.md#your-own-file)"),
        ("[below](#a-package)", "[below](#a-package)"),
        ("[pydantic](https://docs.pydantic.dev)", "[pydantic](https://docs.pydantic.dev)"),
        ("[`src/x.py`](../src/x.py)", "`src/x.py`"),
        ("[x.py](../src/x.py)", "x.py (`src/x.py`)"),
        ("[every key](../conf)", "[every key](config.md)"),
        ("[news](../CHANGELOG.md)", "[news](changelog.md)"),
        ("[tutorial](tutorial.ipynb)", "[tutorial](tutorial.md)"),
        ("![a picture](pictures/report.png)", "![a picture](pictures/report.png)"),
    ],
)
def test_links_stay_in_the_site(link, shown):
    assert for_the_site(f"See {link}\n", "docs/page.md", "page.md") == f"See {shown}\n"


def test_code_is_left_as_it_is():
    page = "See\n\n```\n[x.py](../src/x.py)\n```\n\nand "
    shown = for_the_site(f"{page}[x.py](../src/x.py)\n", "docs/page.md", "page.md")
    assert shown == f"{page}x.py (`src/x.py`)\n"


def test_links_of_pages_elsewhere():
    assert for_the_site("[a](../data.md)", "docs/results/a.md", "results/a.md") == "[a](../data.md)"
    assert for_the_site("[a](docs/data.md)", "CHANGELOG.md", "changelog.md") == "[a](data.md)"


def test_a_notebook_as_a_page(tmp_path):
    html = NotebookNode(output_type="execute_result", data={"text/html": "<b>a</b>\n\n<i>b</i>"})
    image = NotebookNode(output_type="execute_result", data={"image/png": "iVBO\nRw0K\n"})
    plain = NotebookNode(output_type="execute_result", data={"text/plain": "[1, 2]"})
    for output in (html, image, plain):
        output.update(metadata={}, execution_count=1)
    said = nbformat.v4.new_output("stream", name="stdout", text="two\nlines\n")
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\nSee [data](data.md)."),
        nbformat.v4.new_code_cell("a = 1\na", outputs=[html, image]),
        nbformat.v4.new_code_cell("print()", outputs=[said, plain]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    assert notebook_page(tmp_path / "n.ipynb").split("\n\n") == [
        "# Title",
        "See [data](data.md).",
        "```python\na = 1\na\n```",
        '<div class="output">\n<b>a</b>\n<i>b</i>\n</div>',
        "![output](data:image/png;base64,iVBORw0K)",
        "```python\nprint()\n```",
        "```text\ntwo\nlines\n```",
        "```text\n[1, 2]\n```\n",
    ]


def section_of(heading):
    """The text below a heading of the page, up to the next one that is no smaller."""
    found = re.search(rf"^(#+) {heading} {{ #", PAGE, re.MULTILINE)
    assert found, heading
    following = re.search(rf"^#{{2,{len(found[1])}}} ", PAGE[found.end() :], re.MULTILINE)
    return PAGE[found.end() :][: following.start() if following else None]


def defaults_in(text):
    """Key -> default, of all tables of a text."""
    rows = re.findall(r"^\| `([^`|]+)` \| [^\n]*? \| ([^|\n]*) \| [^\n]+ \|$", text, re.MULTILINE)
    return {key: default.strip("`") for key, default in rows}


def leaves(values, at=""):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


PARTS = [
    pytest.param(group, name, id=f"{group}={name}")
    for group, registry in REGISTRIES.items()
    for name in registry.names
    if registry.is_ours(name)
]


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_each_key_of_a_part_is_there_with_its_default(group, name):
    kind = REGISTRIES[group][name]
    heading = next(
        line.removeprefix("### ").partition(" {")[0]
        for line in PAGE.splitlines()
        if line.startswith("### ") and f"`{group}={name}`" in line
    )
    found = defaults_in(section_of(re.escape(heading)))
    for key, field in kind.model_fields.items():
        if key == "name":
            continue
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            for inner in type(default).model_fields:
                assert found[f"{key}.{inner}"] == shown(getattr(default, inner))
        else:
            assert found[key] == ("needed" if field.is_required() else shown(default))


def shown(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple | list) else str(value)


def groups_of(kind, at=""):
    """Each key of a section and of the sections in it, by the types alone."""
    for name, field in kind.model_fields.items():
        inner = [each for each in types_in(field.annotation) if issubclass(each, BaseModel)]
        if inner:
            for each in inner:
                yield from groups_of(each, f"{at}{name}.")
        elif name not in ("name", "kind") or field.default is None:
            yield f"{at}{name}", field


def types_in(annotation):
    if isinstance(annotation, type):
        yield annotation
    for each in getattr(annotation, "__args__", ()):
        yield from types_in(each)


@pytest.mark.parametrize("group", sorted(set(RunConfig.model_fields) - {"data", "model"}))
def test_each_key_of_a_group_is_there(group):
    field = RunConfig.model_fields[group]
    kinds = [each for each in types_in(field.annotation) if issubclass(each, BaseModel)]
    if not kinds:
        assert group in defaults_in(section_of("The run itself"))
        return
    found = section_of(group)
    keys = {key.replace("<name>.", "") for key in re.findall(r"^\| `([^`]+)` ", found, re.M)}
    for key, _ in (pair for kind in kinds for pair in groups_of(kind)):
        if group == "logger":  # each has a heading of its own
            assert key.partition(".")[2] in keys
        elif group == "features":  # blocks of items have the keys of those of users
            assert "`features.items.<name>, kind: category`".replace(", ", "`, `") in found
            assert key.replace("items.", "users.") in keys
        else:
            assert key in keys


@pytest.mark.parametrize("name", [*OF_COMMANDS, *SWEEPERS])
def test_each_key_of_a_command_is_there(name):
    kind = OF_COMMANDS.get(name) or SWEEPERS[name]
    heading = f"`hydra/sweeper={name}`" if name in SWEEPERS else f"`{name.replace('_', '-')}`"
    assert {key for key, _ in groups_of(kind)} <= set(defaults_in(section_of(heading)))


def test_each_command_has_its_keys():
    assert {*OF_COMMANDS, "train", "find_lr"} == set(COMMANDS)


def test_each_option_is_there():
    for path in CONF.rglob("*.yaml"):
        group = path.parent.relative_to(CONF).as_posix()
        if group in (".", "hydra/help", "optimizer/groups", "trainer/arguments"):
            continue
        alone = len(list(path.parent.glob("*.yaml"))) == 1
        said = f"Unless told otherwise: `{group}=default`" if alone else f"`{group}={path.stem}`"
        assert said in PAGE


def test_each_key_says_what_it_is():
    rows = re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE)
    assert len(rows) > 400
    assert [row for row in rows if row.endswith("|  |")] == []


def test_what_an_option_sets_elsewhere():
    softmax = next(line for line in PAGE.splitlines() if line.startswith("- `loss=softmax`"))
    assert "`optimizer=adam_softmax`" in softmax
    assert "`data.batch_size=64`" in softmax
    gpu = next(line for line in PAGE.splitlines() if line.startswith("- `trainer=gpu`"))
    assert gpu.endswith("Sets `trainer.accelerator=gpu`, `trainer.threads=null`.")


def test_values_of_a_file_are_those_of_its_base_and_its_own():
    option = read_option(CONF / "optimizer/adam_sampled.yaml")
    assert option.values["name"] == "adam"
    assert (option.values["lr"], option.values["beta1"]) == (0.01, 0.9)
    assert option.comments["beta1"] == "decay of the running mean of gradients"
    assert option.comments["groups.hidden.lr_scale"] == "factor on the learning rate"


def test_comments_by_their_keys():
    text = (
        "a: 1  # one\nb:  # of b\n  c: '#'  # two\n  d:\n    e: {}  # three\nf: 2\ng: x  # {h: 3}\n"
    )
    assert comments_in(text) == {
        "a": "one",
        "b": "of b",
        "b.c": "two",
        "b.d.e": "three",
        "g": "{h: 3}",
    }


def test_types_in_words():
    fields = {**REGISTRIES["data"]["csv"].model_fields, **RunConfig.model_fields}
    words = {key: in_words(each.annotation, tuple(each.metadata)) for key, each in fields.items()}
    assert words["batch_size"] == "integer (≥ 1) or `full`"
    assert words["format"] == "`csv`, `jsonl`, `parquet` or `null`"
    assert words["users_path"] == "text, list (text) or `null`"
    assert words["find_lr"] == "`true` or `false`"


def test_a_comment_of_two_lines_in_the_source():
    kind = REGISTRIES["data"]["csv"]
    assert comment_of(kind, "duplicates").startswith("Several ratings of one item by one user;")
    assert comment_of(kind, "duplicates").endswith("Without ratings: always one.")


FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=["']?([^"' >]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|dns-prefetch|icon))"""
    r"""[^>]*?\bhref=["']?([^"' >]+)""",
    re.IGNORECASE,
)
OTHER_HOST = re.compile(r"^(https?:)?//")
FETCHED_BY_STYLE = re.compile(r"(?:@import\s+|url\()[\"']?([^\"')\s]+)")


def make_docs(*further):
    """What `make docs` runs."""
    pytest.importorskip("mkdocs")
    makefile = (REPOSITORY / "Makefile").read_text()
    options = re.search(r"^\t.*\$\(BIN\)/python -m (mkdocs build .*)$", makefile, re.MULTILINE)[1]
    return subprocess.run(
        [sys.executable, "-m", *options.split(), *further],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["[x](nowhere.md)", "[x](#nowhere)", "[x](/index.md)", ""])
def test_a_broken_link_or_a_page_left_out_ends_it(tmp_path, broken):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Home\n\n{broken}\n")
    if not broken:
        (docs / "left-out.md").write_text("# Left out\n")
    site = {"INHERIT": str(REPOSITORY / "mkdocs.yml"), "nav": ["index.md"]}
    site |= {"hooks": [], "plugins": ["search"], "watch": []}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(site))
    done = make_docs("--config-file", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert "Aborted with 1 warning" in done.stdout + done.stderr


@pytest.mark.slow
def test_the_site_is_made_and_fetches_nothing_from_elsewhere(tmp_path):
    done = make_docs("--site-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) == len(in_nav(SITE["nav"])) + 1  # and that of what is not there
    for page in pages:
        text = page.read_text()
        assert 'http-equiv="Content-Security-Policy" content="default-src \'self\'' in text
        fetched = ["".join(found) for found in FETCHED.findall(text)]
        assert fetched
        assert not [each for each in fetched if OTHER_HOST.match(each)], page
    for style in tmp_path.rglob("*.css"):
        fetched = FETCHED_BY_STYLE.findall(style.read_text())
        assert not [each for each in fetched if OTHER_HOST.match(each)], style
    assert (tmp_path / "search/search_index.json").stat().st_size > 100_000
    assert 'id="lightning_collab.api.from_python.train"' in (tmp_path / "api.html").read_text()
