# rawstream: everything a person or a CI machine runs. `make` alone explains itself.
#
# Nothing here needs root. The tools live in .venv; a stamp file per set of requirements keeps a second call quick.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-to-run
DEV_STAMP := $(VENV)/.installed-to-develop
JS := tests/clients-js
JS_STAMP := $(JS)/node_modules/.installed
CODE := rawstream tests benchmarks scripts
TESTS ?= tests

# The first interpreter on the PATH that is new enough; PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	path=$$(command -v $$name) || continue; \
	if $$path -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$path; break; fi; \
	done)

.PHONY: help demo test test-slow check bench venv clean

help: ## show this list
	@echo "rawstream: make <target>"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: $(RUN_STAMP) ## play something now: the server over a simulated engine (ARGS="--port 9000" passes flags)
	@exec $(BIN)/rawstream demo $(ARGS)

test: $(DEV_STAMP) $(JS_STAMP) ## the test suite without the minutes-long plays (TESTS=tests/test_mux.py picks one file)
	@$(BIN)/python -m pytest -m "not slow" -n 4 --dist worksteal $(TESTS)

test-slow: $(DEV_STAMP) $(JS_STAMP) ## the minutes-long plays, and Kodi where scripts/install_kodi.sh has put it
	@$(BIN)/python -m pytest -m slow --timeout 900 $(TESTS)

check: $(DEV_STAMP) ## formatting, lint, types, module order, a twin test per module
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_layers.py tests/test_twins.py

bench: $(DEV_STAMP) ## every benchmark against its floor: half an hour on a quiet machine (ARGS=--quick)
	@$(BIN)/python benchmarks/all.py $(ARGS)

venv: $(DEV_STAMP) ## only set up .venv

clean: ## remove .venv and what tools left behind
	@rm -rf $(VENV) $(JS)/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "rawstream needs Python 3.11 or newer, and none was found on the PATH." >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; fi
	@echo "Setting up $(VENV) with $(PYTHON) (once)"
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing rawstream into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing rawstream and its tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,check,bench]'
	@touch $(RUN_STAMP) $@

# Without npm, or without a network, the tests that need these clients skip; under CI=true they fail.
$(JS_STAMP): $(JS)/package.json $(JS)/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo "npm was not found: tests with JavaScript clients will skip"; \
	elif echo "Installing JavaScript clients into $(JS)/node_modules" && (cd $(JS) && npm ci --ignore-scripts --silent); then \
		touch $@; \
	else \
		echo "npm could not install them: tests with JavaScript clients will skip"; fi
