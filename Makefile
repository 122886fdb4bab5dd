# Two commands on a machine that has only Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2
SOURCES := semise_sdk training/semise_training export/semise_export

.PHONY: demo test docs integration robustness lint format benchmarks clean

demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/semise demo --out demo

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --durations 20

# The examples in docstrings, and what the pages name.
docs: $(INSTALLED)
	$(BIN)/python -m pytest tests/test_docs.py $(SOURCES)

# What needs a browser, or a fresh environment with packages from the registry.
integration: $(INSTALLED)
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ apt-get -q update && apt-get -qy install chromium; } || \
		{ echo "the tests in a browser need Chromium: install it, as with apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest -m integration tests --timeout 900

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
