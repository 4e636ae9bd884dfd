# `make` lists the targets. Everything runs in .venv, which `make setup` builds from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ARGS ?=
export NO_ALBUMENTATIONS_UPDATE := 1
# A process for each core, each with one thread of its own.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: help setup train test test-slow test-all check format bench bench-check docs build clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## make .venv and install the pinned packages and seglit itself

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seglit needs Python 3.11 or newer; name one by: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(READY)

train: $(READY) ## train and evaluate the default experiment on the embedded data (ARGS="key=value ...")
	$(BIN)/python -m seglit.train +experiment=bluemarble $(ARGS)

test: $(READY) ## run the default tests
	$(PYTEST) --cov --cov-report=term:skip-covered

test-slow: $(READY) ## run the slow tests alone: every combination of the tricks
	$(PYTEST) -m "slow and not gpu"

test-all: $(READY) ## run every test, the slow ones too
	$(PYTEST) -m "not gpu"

check: $(READY) ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## mend lint and formatting where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## run every benchmark and write docs/performance.md (ARGS="--only bench_loss.py")
	$(BIN)/python scripts/performance.py $(ARGS)

bench-check: $(READY) ## run the benchmarks in short; fails when a ratio fell below half of what is recorded
	$(BIN)/python scripts/performance.py --check $(ARGS)

docs: $(READY) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

build: $(READY) ## build the wheel and the source archive into dist/
	$(BIN)/python -m build

clean: ## remove what the tools left behind, but not .venv or runs
	rm -rf build dist site .coverage htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
