"""What others reach by the same protocols."""

from typing import Literal, NamedTuple


class Peer(NamedTuple):
    """A figure of another package or paper; the script does not measure it again.

    Attributes:
        name: of the package or the method.
        rmse: what it reached.
        source: `published`: in the paper or on the page that `where` names; `measured`: by us with
            the package, once, on one core, when this table was laid out.
        where: the paper or page; of a measured figure, the package.
    """

    name: str
    rmse: float
    source: Literal["published", "measured"]
    where: str
