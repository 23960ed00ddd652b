"""Using a trained run: loaded from its directory alone."""
