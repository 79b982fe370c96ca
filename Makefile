# Two targets do all the set-up on a machine with only Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
RUN ?= outputs/demo

.PHONY: demo test test-slow lint clean

demo: $(VENV)/train.done
	$(BIN)/carg demo --run $(RUN)

test: $(VENV)/dev.done
	$(BIN)/python -m pytest -n auto

test-slow: $(VENV)/dev.done
	$(BIN)/python -m pytest -n auto -m "slow or not slow"

lint: $(VENV)/dev.done
	$(BIN)/ruff format --check carg tests benchmarks
	$(BIN)/ruff check carg tests benchmarks
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A plain `torch` would fetch several gigabytes of CUDA on Linux; the pinned one is taken first.
$(VENV)/train.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -q "$(TORCH)"
	$(BIN)/python -m pip install --disable-pip-version-check -q -e ".[train]"
	touch $@

$(VENV)/dev.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -q "$(TORCH)"
	$(BIN)/python -m pip install --disable-pip-version-check -q -e ".[train,dev]"
	touch $@ $(VENV)/train.done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
