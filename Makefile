# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LEARN2LEARN := $(VENV)/learn2learn
ARGS ?=
JOBS ?= 2
ROBOT ?=
export OMP_NUM_THREADS ?= 1

.PHONY: run test test-slow soak lint check learn2learn clean

run: $(READY)  ## Set up, then run the daemon on a simulated robot (ARGS="--hours 1"; another one: ROBOT=kuka ARGS="--home kuka").
	$(BIN)/perdure run $(if $(ROBOT),--robot $(ROBOT)) $(ARGS)

test: $(READY) lint $(LEARN2LEARN)/.tried  ## Set up, then lint, type check and test, in JOBS processes.
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

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

# Its MAML checks ours, in one test that is skipped without it: nothing here may fail. It is tried once; what it depends
# on is left out, and it lies in a folder of its own (docs/decisions/0002-learn2learn.md).
$(LEARN2LEARN)/.tried: $(READY)
	@mkdir -p $(LEARN2LEARN)
	@if ! command -v $(firstword $(CC)) >/dev/null; then \
		echo "no C compiler ($(firstword $(CC))): learn2learn is not built, and what needs it is skipped"; \
	elif ! PIP_CONSTRAINT=requirements.lock $(BIN)/python -m pip install --disable-pip-version-check --retries 1 \
		--timeout 15 --no-deps --upgrade --target $(LEARN2LEARN) --config-settings=--build-option=build_ext \
		learn2learn==0.2.0 >$(LEARN2LEARN)/build.log 2>&1; then \
		echo "learn2learn could not be built (see $(LEARN2LEARN)/build.log), and what needs it is skipped"; \
	fi
	@touch $@

learn2learn: $(READY)  ## Try once more to build learn2learn.
	rm -rf $(LEARN2LEARN)
	@$(MAKE) $(LEARN2LEARN)/.tried

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
