from film_runs import film_run  # noqa: F401 (a fixture)
