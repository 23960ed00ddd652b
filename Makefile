# `make train` and `make test` do all the set-up on a bare machine, then their job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help train test test-slow check tensorboard clean
help:  ## Show what there is to make.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Made again only when the pins or the declared dependencies change.
$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What only the slow tests need: Ray, a driver for PostgreSQL, ONNX.
$(INSTALLED)-slow: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,export,ray,postgresql]'
	@touch $@

train: $(INSTALLED)  ## Train the default model on MovieLens 100K.
	$(BIN)/python scripts/train.py

test: check  ## Lint, type-check and run the tests (under 6 minutes).
	$(BIN)/python -m pytest -n auto -m 'not slow'

test-slow: $(INSTALLED)-slow  ## Run the tests that take long or need a real server.
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)  ## Lint, formatting and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tensorboard: $(INSTALLED)  ## Serve the curves of all runs on http://localhost:6006.
	$(BIN)/tensorboard --logdir outputs --host localhost --port 6006

clean:  ## Remove the environment and the caches; outputs stay.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
