# SPDX-License-Identifier: Apache-2.0
# Everything that is done with a clone of Leitstand. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
SOAK_ROUNDS ?= 50
EXAMPLES ?= 100
FUZZ_S ?= 60
SEEDS ?= 1000
PORT ?= 8640

FAST := -n $(WORKERS) --dist loadfile -m "not system and not soak"

.PHONY: help setup up test check lint bench soak fuzz simulate docs lock wheelhouse sbom clean contract

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP)  ## Python packages into .venv, from requirements.lock; nothing outside this folder

$(STAMP): requirements.lock pyproject.toml .ci/setup
	@.ci/setup $(VENV)
	@touch $@

up: setup  ## the control plane on this machine with four tenants and the examples running (PORT=8640; Ctrl-C ends it)
	@$(BIN)/python -m leitstand.app.demo --port $(PORT)

test: setup  ## every test that this machine can run; SYSTEM=1 first installs what the system tests need
	@if [ -n "$${SYSTEM:-}" ]; then .ci/system-packages; fi
	@failed=0; \
	$(PYTEST) $(FAST) || failed=1; \
	$(PYTEST) -n $(WORKERS) --dist loadfile -m "system and not soak" || failed=1; \
	exit $$failed

check: lint  ## format, lint, types, import directions, unit and property tests (about two minutes)
	@$(PYTEST) -q $(FAST) tests/unit tests/properties

lint: setup  ## format, lint, types, import directions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup  ## measure what is promised, print a table, write build/bench.json; fails if a target is missed
	@$(BIN)/python bench/run.py

soak: setup  ## SOAK_ROUNDS=50 rounds of kill -9 under load
	@LEITSTAND_SOAK_ROUNDS=$(SOAK_ROUNDS) $(PYTEST) -m soak --timeout 3600

fuzz: setup  ## mutated input to every parser and every route, FUZZ_S=60 seconds each; what breaks a promise stays in build/fuzz
	@$(BIN)/python -m tests.fuzz all $(FUZZ_S)

simulate: setup  ## SEEDS=1000 small worlds in which everything fails, and planted bugs; SEED=4711 tells one of them
	@$(BIN)/python -m tests.simulate $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(BUG),--bug $(BUG))

contract: setup  ## every route with EXAMPLES=100 generated requests, by seven askers, held to the description of the API
	@LEITSTAND_EXAMPLES=$(EXAMPLES) $(PYTEST) -m system --timeout 3600 tests/system/test_openapi.py

docs: setup  ## check the documentation: links, coverage of commands and paths, and run its examples
	@$(PYTEST) -q tests/unit/test_docs.py tests/system/test_docs.py

lock: setup  ## write requirements.lock anew from pyproject.toml
	@.ci/lock $(VENV)

wheelhouse: setup  ## all wheels of an installation with digests into build/wheelhouse, installed once without a network
	@$(BIN)/python -m deploy.wheelhouse build/wheelhouse

sbom: setup  ## what Leitstand consists of (CycloneDX) into build/sbom.cdx.json
	@$(BIN)/python -m deploy.sbom build/sbom.cdx.json

clean:  ## remove what was built (keeps .venv)
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find leitstand tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
