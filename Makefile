# Two commands for a fresh clone: `make demo` and `make test`. Each builds .venv when it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint faults bench bench-full clean

$(READY): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -e '.[test,dask,onnx]'
	touch $(READY)

demo: $(READY)
	$(BIN)/python cli.py demo

# Two processes on two cores; files stay whole, because their tests share what is costly to make.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

FAULTS := tests/faults $(addprefix tests/pipeline/,decode/test_damage.py cache/test_damage.py runs/test_checkpoint.py manifests/test_checked.py)
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAULTS) -m "slow or not slow" -n logical --dist loadfile

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-full: $(READY)
	$(BIN)/python -m benchmarks --full

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache
