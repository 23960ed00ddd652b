"""Links of pages that are right in the repository, as the site has them."""

import posixpath
import re

FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2`*~* *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)\)")
# What is a page of the site although it lies elsewhere, or is no page, in the repository.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "conf": "config.md",
    "docs/tutorial.ipynb": "tutorial.md",
}


def for_the_site(markdown: str, source: str, page: str) -> str:
    """A page whose links stay within the site; one that leaves it becomes the path as text.

    Args:
        markdown: the page as it is in the repository.
        source: its path in the repository.
        page: its path in the site.
    """
    parts, at = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [_rewritten(markdown[at : fence.start()], source, page), fence.group()]
        at = fence.end()
    return "".join([*parts, _rewritten(markdown[at:], source, page)])


def _rewritten(text: str, source: str, page: str) -> str:
    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if not path or ":" in path:
            return found.group()
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not there.startswith("docs/") and there not in ELSEWHERE:
            return words if there in words.strip("`") else f"{words} (`{there}`)"
        there = ELSEWHERE.get(there, there.removeprefix("docs/"))
        here = posixpath.dirname(page) or "."
        return f"[{words}]({posixpath.relpath(there, here)}{hash_}{anchor})"

    return LINK.sub(link, text)
