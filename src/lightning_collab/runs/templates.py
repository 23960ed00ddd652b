"""Templates of the package's own, filled in."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

# Whose templates are parts of others'.
SHARED = "lightning_collab.runs"


def filled_in(package: str, template: str, *, escaped: bool = True, **content: Any) -> str:
    """A template with its content.

    Args:
        package: whose folder `templates` it is in.
        template: its file name.
        escaped: whether the content is made harmless in HTML.
        content: by the names that it uses; one that is missing is an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(SHARED)]),
        autoescape=escaped,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
