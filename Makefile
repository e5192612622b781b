# Two commands for a fresh clone: `make demo` and `make test`. Each builds .venv when it is needed;
# `make test PYTHON=python3.13 VENV=.venv-3.13` does so for another Python.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# uv makes the environment in a minute where pip takes five; pip serves where it is not installed.
INSTALL := $(if $(shell command -v uv),uv pip install --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install)
# Sources are compiled once, even where the machine says not to keep that: tests start hundreds of processes.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile

.PHONY: demo test lint faults bench bench-full open-detector oldest clean

$(READY): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --quiet --upgrade -e '.[test,dask,onnx,lite]'
	touch $(READY)

demo: $(READY)
	$(BIN)/python cli.py demo

# Files stay whole, because their tests share what is costly to make.
test: $(READY)
	$(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

FAULTS := tests/faults $(addprefix tests/pipeline/,decode/test_damage.py decode/test_account.py cache/test_damage.py runs/test_checkpoint.py manifests/test_checked.py sources/test_finds.py)
faults: $(READY)
	$(PYTEST) $(FAULTS) -m "slow or not slow"

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-full: $(READY)
	$(BIN)/python -m benchmarks --full

# A detector of real footage only, from pictures of faces that may be used so, and its card: FACES is their folder, CLIPS that of
# the open clips it is measured on (benchmarks/openclips/clips.csv lists them), OUT where all of it goes.
OUT ?= open-detector
open-detector: $(READY)
	$(BIN)/python -m benchmarks.open_detector $(FACES) $(if $(CLIPS),--clips $(CLIPS)) --out $(OUT)

# The suite with the lowest versions that setup.cfg promises, on Python 3.11 (all of them have wheels for it).
oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	.venv-oldest/bin/uv pip install --compile-bytecode --quiet --python .venv-oldest/bin/python --resolution lowest-direct -e '.[test,dask,onnx,lite]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n logical --dist loadfile

clean:
	rm -rf .venv .venv-* demo .pytest_cache .ruff_cache
