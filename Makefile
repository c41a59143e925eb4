# Needs Python 3.11 or newer and make. Everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Tests that mostly wait for time-outs, browsers and gateways, on two cores.
WAITING_AT_ONCE ?= 3
# What is killed loses what no disk has: never in memory.
DISK := PYTEST_DEBUG_TEMPROOT=$${TMPDIR:-/tmp}

DOCUMENTATION := src/keyturn/documentation/documentation.db

.DEFAULT_GOAL := help
.PHONY: help setup dev run test faults faults-short check floors image-test release bench lock

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BIN)/.server $(DOCUMENTATION) ## Make .venv with the pinned requirements and the project in it
	@echo "Ready: $(BIN)/keyturn"

run: $(BIN)/.server $(DOCUMENTATION) ## Serve a demonstration on http://127.0.0.1:8400 and print what to try
	$(BIN)/keyturn serve --demo

dev: $(BIN)/.dev $(DOCUMENTATION) ## Make .venv with what the tests and checks need besides

test: $(BIN)/.dev $(DOCUMENTATION) ## Run the tests: unit, property, both databases, HTTP, browser, gateways
	@failed=0; \
	$(BIN)/pytest --phase=working -m "not faults" --numprocesses=auto --dist=loadfile --no-loadscope-reorder || failed=1; \
	$(BIN)/pytest --phase=waiting -m "not faults" --numprocesses=$(WAITING_AT_ONCE) --dist=loadfile || failed=1; \
	exit $$failed

faults: $(BIN)/.dev $(DOCUMENTATION) ## Kills, cuts and stale answers under load, at full size: about an hour
	$(DISK) KEYTURN_FULL_SIZE=1 KEYTURN_FAULT_ROUNDS=200 KEYTURN_STALENESS_ROUNDS=100000 KEYTURN_REVOKES=1000 KEYTURN_PG_KILLS=10 KEYTURN_ROTATIONS=30 KEYTURN_FEED_DISCONNECTS=20 \
		$(BIN)/pytest -m faults -s
	KEYTURN_FULL_SIZE=1 $(BIN)/pytest -m "sized and not faults" --numprocesses=auto --dist=loadfile --no-loadscope-reorder

faults-short: $(BIN)/.dev $(DOCUMENTATION) ## The same in a few minutes
	$(DISK) $(BIN)/pytest -m faults -s

check: $(BIN)/.dev ## Formatter, linter, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

floors: $(BIN)/.dev ## Install each extra on exactly the oldest packages it allows, and use it
	$(BIN)/python -m tests.floors

image-test: $(BIN)/.dev ## Build the container image on a fresh Debian, as root, and run it: two minutes
	$(BIN)/python -m tests.image

release: $(BIN)/.dev ## Build the release of this commit into dist/, and tag it in this clone
	$(BIN)/python release.py

bench: $(BIN)/.dev ## Measure beside a bare server and its peers; needs wrk, and node for two peers
	$(BIN)/python -m bench

lock: $(BIN)/.dev ## Choose the newest allowed versions and write them down with their hashes
	$(BIN)/pip install --quiet pip-tools
	for part in server dev bench; do $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate \
		--allow-unsafe --output-file requirements/$$part.txt requirements/$$part.in; done

$(DOCUMENTATION): $(shell find docs -type f -not -path 'docs/decisions/*') $(wildcard src/keyturn/documentation/build/*) | $(BIN)/.server
	$(BIN)/python -m keyturn.documentation.build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Keyturn needs Python 3.11 or newer: set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

$(BIN)/.server: requirements/server.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/server.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/.dev: requirements/dev.txt $(BIN)/.server
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@touch $@
