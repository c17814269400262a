# Each target makes .venv first where it is not there, from the locked and hashed requirements.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 30
ROWS ?= long or not long
PARALLEL ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder
SEED ?= $(shell $(PYTHON) -c "import random; print(random.SystemRandom().randrange(10**6))")
TIMES ?= 5

.PHONY: demo test lint bench faults stress prove mutate soak wheel sbom audit lock clean

demo: .venv/ready
	$(BIN)/stream-capi demo

# Two processes, each with a broker and a registry of its own: the tests mostly wait for these.
test: .venv/ready
	$(BIN)/python -m pytest $(PARALLEL)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python -m benchmarks

# The whole fault matrix on the real broker, with its scorecard; `make test` runs all but the longest rows.
faults: .venv/ready
	$(BIN)/python -m pytest tests/faults -m "$(ROWS)" --timeout 900 $(PARALLEL)

# The tests of the real broker five times in a row, with four busy loops beside them; none may fail, and none is tried again.
stress: .venv/ready
	$(BIN)/python -m tests.stress --times $(TIMES) $(PARALLEL)

# The long proofs: models and fuzzing with more examples, the wheel in an empty environment.
prove: .venv/ready
	PROOF=long $(BIN)/python -m pytest tests/proof tests/core tests/supply -m "long or not long" --timeout 3600

mutate: .venv/ready
	$(BIN)/python -m tests.mutation

# Live traffic under faults at random: make soak MINUTES=30 SEED=7
soak: .venv/ready
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

# SOURCE_DATE_EPOCH is the last commit's time, so that anybody's build of it is the same file.
wheel: .venv/ready
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --wheel --no-isolation --outdir dist

sbom: .venv/ready
	mkdir -p dist
	$(BIN)/python -m cyclonedx_py requirements --output-reproducible --output-file dist/sbom.cdx.json requirements/runtime.lock

# Strict: a package that can't be looked up fails the audit, where it would otherwise be skipped in silence.
audit: .venv/ready
	$(BIN)/python -m pip_audit --strict --disable-pip --require-hashes --requirement requirements/runtime.lock

.venv/ready: requirements/dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# Locks are made anew with this, after a change of the dependencies in pyproject.toml.
COMPILE := $(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
  --no-emit-find-links --no-emit-trusted-host --no-header
lock: .venv/ready
	$(COMPILE) --output-file requirements/runtime.lock pyproject.toml
	$(COMPILE) --extra dev --output-file requirements/dev.lock pyproject.toml
	$(COMPILE) --only-build-deps --build-deps-for wheel --constraint requirements/dev.lock --output-file requirements/build.lock pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info
