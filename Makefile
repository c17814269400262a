# Each target makes .venv first where it is not there, from the locked and hashed requirements. `make help` names them.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 30
ROWS ?= matrix or not matrix
# Three processes on two cores, each with a broker and a registry of its own; with more, each waits longer for a core. Those
# of test leave the cores idle for a third of the time then. The tests of test-fast wait for nothing, and stress makes the
# machine busy by itself.
PROCESSES ?= 3
test: PROCESSES := 4
test-fast stress: PROCESSES := 2
PARALLEL ?= --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
SEED ?= $(shell $(PYTHON) -c "import random; print(random.SystemRandom().randrange(10**6))")
TIMES ?= 5
# The tests import the program twice and start it hundreds of times; without its byte code each start compiles it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test-fast test test-all test-deploy lint docs bench bench-growth faults stress prove mutate soak wheel release sbom audit lock clean

help: ## prints this
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: .venv/ready ## runs the whole line on this machine
	$(BIN)/stream-capi demo

test-fast: .venv/ready ## the quick loop: no broker, no registry, no browser, no slow test
	PROOF=short $(BIN)/python -m pytest $(PARALLEL) -m "not engine and not matrix and not real and not browser and not slow and not repeat and not long"

test: .venv/ready ## each subject once, on a real broker and a real registry
	PROOF=short $(BIN)/python -m pytest $(PARALLEL) -m "not engine and not matrix and not repeat and not long"

test-all: .venv/ready ## all tests but the rows on three brokers: every parameter and the runs of minutes too
	$(BIN)/python -m pytest $(PARALLEL) -m "not engine and not matrix"

# The engines take half an hour to build, once: neither the tests above nor CI use them.
test-deploy: .venv/ready ## manifests, chart and image, run by an API server, helm and a container engine that are built once
	$(BIN)/python -m tests.ship.engines && $(BIN)/python -m pytest -rP -m engine

lint: .venv/ready ## ruff, the format, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/ready ## writes docs/configuration.md from the settings, and builds all pages as a site in site/
	$(BIN)/python -m tests.deploy.configuration_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# All of it, or parts: make bench ONLY="wide chunks"
bench: .venv/ready ## measures, and writes the figures into docs/performance.md
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

# All of it, or parts: make bench-growth ONLY="partitions day"
bench-growth: .venv/ready ## measures memory and time as the work grows, and writes the figures into docs/scaling.md
	$(BIN)/python -m benchmarks.growth $(if $(ONLY),--only $(ONLY))

faults: .venv/ready ## the whole fault matrix on the real broker, with its scorecard
	$(BIN)/python -m pytest tests/faults tests/soak tests/integration/test_cluster_rights.py -m "$(ROWS)" $(PARALLEL)

# The tests of the real broker five times in a row, with four busy loops beside them; none may fail, and none is tried again.
stress: .venv/ready ## the tests of the real broker five times in a row on a busy machine
	$(BIN)/python -m tests.stress --times $(TIMES) $(PARALLEL)

# The long proofs: models and fuzzing with more examples, the wheel in an empty environment.
prove: .venv/ready ## models and fuzzing with more examples, and the wheel in an empty environment
	PROOF=long $(BIN)/python -m pytest tests/proof tests/core tests/supply -m "long or not long" --timeout 3600

mutate: .venv/ready ## every small change of core/ and events/ against their tests
	$(BIN)/python -m tests.mutation

# Live traffic under faults at random: make soak MINUTES=30 SEED=7. On three brokers: make soak CLUSTER=1 MINUTES=30 SEED=7
soak: .venv/ready ## live traffic under random faults: MINUTES=30 SEED=7, on three brokers with CLUSTER=1
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED) $(if $(CLUSTER),--cluster)

# SOURCE_DATE_EPOCH is the last commit's time, so that anybody's build of it is the same file.
wheel: .venv/ready ## builds the wheel, the same file for anybody
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --wheel --no-isolation --outdir dist

# Of the last commit, into dist/; what is not committed stops it. Needs each supported Python on the path or among pyenv's.
release: .venv/ready ## builds all that is published twice, compares, and runs the wheel alone under each Python
	$(BIN)/python -m release

sbom: .venv/ready ## writes the bill of materials
	mkdir -p dist
	$(BIN)/python -m cyclonedx_py requirements --output-reproducible --output-file dist/sbom.cdx.json requirements/runtime.lock

# Strict: a package that can't be looked up fails the audit, where it would otherwise be skipped in silence.
audit: .venv/ready ## looks the locked packages up for known vulnerabilities
	$(BIN)/python -m pip_audit --strict --disable-pip --require-hashes --requirement requirements/runtime.lock

.venv/ready: requirements/dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# Writes the locks again, after a change of the dependencies in pyproject.toml.
COMPILE := $(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
  --no-emit-find-links --no-emit-trusted-host --no-header
lock: .venv/ready ## compiles the locked requirements again
	$(COMPILE) --output-file requirements/runtime.lock pyproject.toml
	$(COMPILE) --extra aws --output-file requirements/aws.lock pyproject.toml
	$(COMPILE) --extra dev --output-file requirements/dev.lock pyproject.toml
	$(COMPILE) --only-build-deps --build-deps-for wheel --constraint requirements/dev.lock --output-file requirements/build.lock pyproject.toml

clean: ## removes the environment and what was built
	rm -rf .venv build dist *.egg-info
