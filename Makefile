# `make train` and `make test` do all the set-up on a bare machine, then their job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help train test test-slow test-gpu check audit mutants peers tensorboard docs docs-serve notebook clean
help:  ## Show what there is to make.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Made again only when the pins or the declared dependencies change.
$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What only the slow tests need: Ray, a driver for PostgreSQL, ONNX, loggers, Streamlit.
$(INSTALLED)-slow: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,export,ray,postgresql,wandb,mlflow,demo]'
	@touch $@

# What only the documentation's site needs.
$(INSTALLED)-docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

train: $(INSTALLED)  ## Train the default model on MovieLens 100K.
	$(BIN)/python scripts/train.py

test: check  ## Lint, type-check and run the tests (under 6 minutes).
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow'

test-slow: $(INSTALLED)-slow  ## Run the tests that take long or need a real server.
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

test-gpu: $(INSTALLED)  ## Run the tests that need a GPU; without one, list what was skipped.
	$(BIN)/python -m pytest -m 'gpu and not slow' -rs tests/gpu

check: $(INSTALLED)  ## Lint, formatting and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tool has an environment of its own: its dependencies are not ours to answer for.
$(VENV)/audit/.installed:
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'
	@touch $@

# Strict: a package that the database does not answer for is no package without vulnerabilities.
audit: $(VENV)/audit/.installed  ## Look up known vulnerabilities of all pinned packages.
	@$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
		--requirement constraints.txt 2> $(VENV)/audit/messages || { \
		tail -n 1 $(VENV)/audit/messages >&2; \
		if grep -q 'could not be audited\|requests.exceptions' $(VENV)/audit/messages; then \
			echo 'error: the advisories of https://pypi.org cannot be reached; nothing was audited' >&2; \
		fi; exit 1; }

# As for the audit: an environment of its own.
$(VENV)/mutants/.installed:
	$(PYTHON) -m venv $(VENV)/mutants
	$(VENV)/mutants/bin/python -m pip install --quiet --disable-pip-version-check 'cosmic-ray>=8.4,<9'
	@touch $@

CHANGED ?= main
MUTANTS ?= --changed $(CHANGED) --count 40
mutants: $(INSTALLED) $(VENV)/mutants/.installed  ## Change changed files slightly and see which changes no test notices.
	$(VENV)/mutants/bin/python tests/support/mutants.py --python $(BIN)/python $(MUTANTS)

peers: $(INSTALLED)  ## Measure other packages on our protocols (an hour; installs them, 8 GB).
	$(BIN)/python scripts/results.py table=peers seeds=3

tensorboard: $(INSTALLED)  ## Serve the curves of all runs on http://localhost:6006.
	$(BIN)/tensorboard --logdir outputs --host localhost --port 6006

docs: $(INSTALLED)-docs  ## Make the documentation's site; a broken link is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'the site is in outputs/site; open outputs/site/index.html, or make docs-serve to search it too'

docs-serve: $(INSTALLED)-docs  ## Serve the site on http://localhost:8000, made anew at each change.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr localhost:8000

notebook: $(INSTALLED)  ## Run the tutorial anew and store its outputs (about a minute).
	$(BIN)/python -m website.notebook_run

clean:  ## Remove the environment and the caches; outputs stay.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
