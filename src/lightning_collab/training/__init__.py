"""Training any model of ratings with Lightning."""
