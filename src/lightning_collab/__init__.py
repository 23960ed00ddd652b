"""lightning-collab: learn, compare, tune and inspect embedding models of ratings."""

__version__ = "0.1.0"
