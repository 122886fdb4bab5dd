# Two commands on a machine that has only Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test robustness lint format benchmarks clean

demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/semise demo --out demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

# The suites of tests/robustness at full size, which `make test` runs at a small one; figures are printed by name.
robustness: $(INSTALLED)
	SEMISE_ROBUSTNESS=full $(BIN)/python -m pytest tests/robustness --timeout 3600

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/rank_throughput.py
	$(BIN)/python benchmarks/rank_memory.py

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "semise needs Python 3.11 or newer; name one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
