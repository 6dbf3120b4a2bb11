# Two commands matter: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SEED ?=
# One thread a test process: the suite runs in $(WORKERS) processes already.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: demo test fuzz test-long docs lint types setup setup-dev clean help
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## install vireid into .venv
setup-dev: $(VENV)/.installed-dev  ## the same with everything the tests need

$(BIN)/python:
	@$(PYTHON) -c '' >/dev/null 2>&1 || \
		{ echo "'$(PYTHON)' can't be run as Python. vireid needs Python 3.11 or newer. Name one: make PYTHON=python3.12 demo"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vireid needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing vireid and its libraries into $(VENV) (PyTorch is large: minutes on a first run) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[synthetic,serve,plot]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing vireid and its test tools into $(VENV) (PyTorch is large: minutes on a first run) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev,docs]'
	@touch $@ $(VENV)/.installed

demo: setup  ## synthetic people -> train -> test -> search page, on this machine
	$(BIN)/vireid demo

test: setup-dev  ## the whole suite (at most 10 minutes on 2 cores)
	$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

fuzz: setup-dev  ## odd files into every reader, for a minute
	$(TEST_ENV) $(BIN)/python tools/fuzz.py --seconds 60 $(if $(SEED),--seed $(SEED))

test-long: setup-dev  ## what takes longer; writes a dated result under benchmarks/results
	$(TEST_ENV) $(BIN)/python benchmarks/long_tests.py

docs: setup-dev  ## the documentation site in build/site; a dead link is an error
	$(BIN)/python tools/docs_site.py

lint: setup-dev  ## ruff, format check, codespell
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell src tests docs README.md CHANGELOG.md CONTRIBUTING.md

types: setup-dev  ## mypy
	$(BIN)/mypy

clean:  ## remove .venv and caches (never runs or data)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build
