# The one front door. Each target says what it does while it does it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test check format bench docs lock clean

help: ## Show this list.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Install everything into .venv (demo, test and check call this).

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "==> setup: installing the locked dependencies into $(VENV) (a minute, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "==> setup: done"

servers: setup
	@$(BIN)/python tests/support/fetch_servers.py
	@PYTHONPATH=tests $(BIN)/python -m support.fetch_base_image
	@$(BIN)/python tests/support/fetch_compose.py
	@$(BIN)/python tests/support/fetch_helm.py

demo: setup ## Scan an image as Harbor would, on this machine alone; no licence, no Docker.
	@$(BIN)/harbor-scanner demo

test: setup servers ## Run all tests; the servers that they need are fetched into .venv.
	@echo "==> test: unit, contract, integration and end to end"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: setup ## Lint, format and types.
	@echo "==> check: ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> check: mypy --strict"
	@$(BIN)/mypy
	@echo "==> check: all clean"

format: setup ## Put the code into shape.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup servers ## Measure speed and memory; ratios where something runs beside it.
	@$(BIN)/python bench/run.py

docs: setup ## Write the generated parts of the documentation again.
	@$(BIN)/python docs/generate.py

lock: setup ## Lock the newest allowed versions of all dependencies, and for the image those that it needs.
	@$(LOCK) --group dev --output-file requirements.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --output-file deploy/docker/runtime.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --output-file deploy/docker/build.lock --group build

clean: ## Remove what was installed and cached.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis dist
