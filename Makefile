# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
ROBOT ?=
export OMP_NUM_THREADS ?= 1

.PHONY: run test test-slow soak lint check clean

run: $(READY)  ## Set up, then run the daemon on a simulated robot (ROBOT=kuka, ARGS="--hours 1" and the like).
	$(BIN)/perdure run $(if $(ROBOT),--robot $(ROBOT)) $(ARGS)

test: $(READY) lint  ## Set up, then lint, type check and test.
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(READY)  ## Tests that take longer than ten seconds each.
	$(BIN)/python -m pytest -m slow --timeout=1800 $(ARGS)

soak: $(READY)  ## Tests that run for minutes to days.
	$(BIN)/python -m pytest -m soak --timeout=0 $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: test test-slow

$(READY): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "Error: $(PYTHON) not found; install Python 3.11, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
