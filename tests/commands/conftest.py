from film_runs import film_run  # noqa: F401 (a fixture)
from model_runs import run_of, trained  # noqa: F401 (fixtures)
