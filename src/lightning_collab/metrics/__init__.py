"""How good predictions are: errors of ratings, rankings of items, and the baselines to beat."""
