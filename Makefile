# `make` or `make help` lists what can be done. Nothing here needs root, and nothing is installed outside this folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
BIN := .venv/bin
CONFIG := cegid-daemon.toml

.PHONY: .venv compiled help install run demo test check audit attack bench fuzz soak lock reference

help: ## this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /  make \1 | /' | column -t -s '|'

install: ## .venv with exactly what requirements.lock names; does nothing if it is there
	@cmp -s requirements.lock .venv/requirements.lock || $(MAKE) --no-print-directory .venv

.venv:
	@python=$$(for one in $(PYTHONS); do \
	    if $$one -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then command -v $$one; break; fi; done); \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11 or later with its venv module is needed, and none of these is it: $(PYTHONS)." >&2; \
	    echo "On Debian or Ubuntu: apt install python3 python3-venv" >&2; exit 1; fi; \
	echo "making .venv with $$($$python --version) (a minute or two, once)"; \
	$$python -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@cp requirements.lock .venv/requirements.lock

compiled: install
	@$(BIN)/python -m compileall -q cegid_daemon # each start would compile it anew where no bytecode may be written

run: compiled ## the daemon on cegid-daemon.toml; Ctrl-C ends it
	@exec $(BIN)/cegid-daemon run --config $(CONFIG)

demo: compiled ## the whole thing on loopback, in a folder that stays to be looked into
	@exec $(BIN)/cegid-daemon demo $(ARGS)

test: compiled ## every test, on all cores; the files whose tests wait for daemons and servers come first
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: install ## style, types, layers, documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit/test_docs.py

audit: install ## what is known against the packages of requirements.lock; says so where no database can be asked
	@$(BIN)/python .ci/audit.py

attack: compiled ## the real daemon under every attack that is known, within some two minutes
	@$(BIN)/python -m pytest -n auto --dist loadfile tests/security $(ARGS)

soak: compiled ## the daemon in a storm of kills, cuts, stalls and full disks for MINUTES=10; counts what arrived
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) $(ARGS)

fuzz: compiled ## hostile files, layouts, templates, searches and masks at random for MINUTES=10; a finding with its seed
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(ARGS)

bench: compiled ## the benchmarks, as ratios in one run
	@$(BIN)/python -m benchmarks $(ARGS)

reference: install ## docs/configuration.md out of the schema, docs/cli.md out of the help
	@$(BIN)/python -m cegid_daemon.config.reference > docs/configuration.md
	@$(BIN)/python -m cegid_daemon.cli.reference > docs/cli.md

lock: ## requirements.lock anew, newest versions; best with the oldest Python, whose needs are the widest
	@$$(command -v python3.11 || command -v python3) -m venv --clear build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check pip-tools
	@env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/pip-compile --quiet --upgrade \
	    --extra dev --build-deps-for editable --build-deps-for wheel --generate-hashes --allow-unsafe --strip-extras \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	    --output-file requirements.lock pyproject.toml
	@echo pip-audit | env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/pip-compile --quiet --upgrade \
	    --generate-hashes --allow-unsafe --strip-extras \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	    --output-file requirements-audit.lock -
	@rm -rf build/lock
