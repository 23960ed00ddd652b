"""MkDocs' hooks: pages that are made, and links that leave the site."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website.config_reference import config_reference
from website.links import for_the_site
from website.notebook_page import notebook_page

REPOSITORY = Path(__file__).parents[1]
# Whatever a page names, a browser fetches nothing from another host.
FETCH_NOTHING = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'self\' data: blob:; '
    "script-src 'self' 'unsafe-inline' blob:; style-src 'self' 'unsafe-inline'\">"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what no file in docs/ has."""
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    made = {
        "config.md": config_reference(),
        "tutorial.md": notebook_page(REPOSITORY / "docs" / "tutorial.ipynb"),
        "changelog.md": for_the_site(changelog, "CHANGELOG.md", "changelog.md"),
        "site.css": (REPOSITORY / "website" / "site.css").read_text(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as the site has them."""
    if page.file.generated_by is not None:
        return markdown
    return for_the_site(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def on_post_page(output: str, **_: Any) -> str:
    """Forbid each page to load anything from elsewhere."""
    return output.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{FETCH_NOTHING}', 1)


def on_post_template(output_content: str, **_: Any) -> str:
    """The same of the page that is shown where there is none."""
    return on_post_page(output_content)
