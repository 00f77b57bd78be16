# Everything goes through .venv, which `make setup` builds from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo run test check bench chaos lock clean

help: ## Show what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## Build .venv from requirements.lock (again when the lock is newer)

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tapewatch needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	@echo "installing into $(VENV) (about a minute, once)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## The whole platform on a simulated market; MINUTES=2 ends by itself
	@$(BIN)/tapewatch demo $(if $(MINUTES),--minutes $(MINUTES))

run: setup ## The whole platform live, with tapewatch.toml
	@$(BIN)/tapewatch up

test: setup ## The tests, under five minutes
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## Format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Speed beside the peers; ARGS=--quick, --full or "--only minute"
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: setup ## Faults and kills against the replica; ARGS="--minutes 10 --seed 1"
	@$(BIN)/python -m tests.chaos $(ARGS)

lock: ## Pin the newest allowed versions with their hashes
	@[ -x $(BIN)/uv ] || { echo "run make setup first"; exit 1; }
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --python-version 3.11 --upgrade --quiet -o requirements.lock

clean: ## Remove data, site and caches of this checkout (not .venv)
	rm -rf data site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
