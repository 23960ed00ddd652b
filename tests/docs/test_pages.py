"""The code on the documentation's pages runs and holds."""

import re

import pytest
from support import REPOSITORY

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    path for path in (REPOSITORY / "docs").rglob("*.md") if BLOCK.search(path.read_text())
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_on_the_page_runs(page, tmp_path, monkeypatch):
    # What it leaves behind, it leaves there.
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in BLOCK.findall(page.read_text()):
        exec(compile(code, page.name, "exec"), names)


def test_there_is_a_page_with_code():
    assert "embeddings.md" in {page.name for page in PAGES}


@pytest.mark.parametrize(
    "page", sorted((REPOSITORY / "docs").rglob("*.md")), ids=lambda page: page.name
)
def test_links_and_pictures_of_the_page_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target
