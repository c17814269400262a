# Each target makes .venv first where it is not there, from the locked and hashed requirements.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench faults lock clean

demo: .venv/ready
	$(BIN)/stream-capi demo

test: .venv/ready
	$(BIN)/python -m pytest

faults: .venv/ready
	$(BIN)/python -m pytest tests/faults -m "long or not long" --timeout 900

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python -m benchmarks

.venv/ready: requirements/dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# Locks are made anew with this, after a change of the dependencies in pyproject.toml.
lock: .venv/ready
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --no-header --output-file requirements/runtime.lock pyproject.toml
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --no-header --extra dev --output-file requirements/dev.lock pyproject.toml
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --no-header --only-build-deps --build-deps-for wheel \
	  --constraint requirements/dev.lock --output-file requirements/build.lock pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info
