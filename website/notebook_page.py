"""Notebooks as pages of the site: text, code, and the outputs that are stored in them."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

# Of an output in several forms, the first that there is.
FORMS = ("text/html", "image/png", "text/plain")


def notebook_page(path: Path) -> str:
    """The Markdown of a notebook.

    Args:
        path: of the notebook.
    """
    notebook = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [_shown(output) for output in cell.outputs]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shown(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return _block(output.text)
    data = output.get("data", {})
    form = next((form for form in FORMS if form in data), None)
    if form == "text/html":
        # An empty line would end the HTML and begin Markdown.
        lines = [line for line in data[form].splitlines() if line.strip()]
        return "\n".join(['<div class="output">', *lines, "</div>"])
    if form == "image/png":
        return f"![output](data:image/png;base64,{data[form].replace(chr(10), '')})"
    return _block(data[form]) if form is not None else ""


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
