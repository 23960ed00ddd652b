"""How good predictions are: errors of ratings, rankings of items, and the baselines to beat."""

# Baselines by their names in metrics.json, and what they are called.
RATING_BASELINES = {"bias": "user and item biases", "mean": "mean rating"}
RANKING_BASELINES = {"most_popular": "most popular", "item_knn": "item-kNN", "ease": "EASE"}
