from film_runs import film_run  # noqa: F401 (a fixture)
from model_runs import trained  # noqa: F401 (a fixture)
