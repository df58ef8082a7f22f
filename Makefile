# Two commands do all the set-up: `make demo` and `make test`. The second run of either installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt

.PHONY: demo test lint types unit browser wheel torchvision site fuzz format clean

demo: $(VENV)/.demo
	$(BIN)/h2q demo

test: lint types site wheel torchvision unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/house.py

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev browser
	$(BIN)/python -m pytest -n 2 -q -m "not alone"
	$(BIN)/python -m pytest -q -m alone tests/index

browser:
	bash scripts/browser.sh

wheel: $(VENV)/.dev
	PYTHON=$(PYTHON) bash scripts/test_wheel.sh

torchvision: $(VENV)/.dev
	bash scripts/torchvision_environment.sh

site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

fuzz: $(VENV)/.dev
	$(BIN)/python scripts/fuzz_files.py --mutants 1000

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "h2q needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[learn,images,plots]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .build dist .mypy_cache .ruff_cache .pytest_cache
