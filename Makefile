# Everything here needs make and python3 (3.11 or newer) alone; where uv is installed it is used, and is faster.

SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
PORT := 8000
ARGS :=
# Of the tests: one more than there are cores, for many wait for processes.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help demo serve test bench lint setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Watch events delivered, retried, dead-lettered and replayed (on PostgreSQL: ARGS=--postgres)
	@$(PYTHON) manage.py relay_demo $(ARGS)

serve: $(READY) ## Run the example: its admin and portal, weeks of history, a worker, a receiver (PORT=8000)
	@$(PYTHON) manage.py relay_serve --port $(PORT) $(ARGS)

test: $(READY) ## Run all tests, on SQLite and PostgreSQL; needs chromium and gettext (ARGS='-k outbox' to choose)
	$(PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

bench: $(READY) ## Measure against limits and bars (ARGS=--quick in a minute; ARGS='drain latency' to choose)
	@$(PYTHON) -m benchmarks $(ARGS)

lint: $(READY) ## Check format, style, types, contracts between modules, and Django's own checks
	@if uv --version >/dev/null 2>&1; then uv lock --check --quiet; fi
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PYTHON) manage.py check
	$(PYTHON) manage.py makemigrations --check --dry-run

setup: $(READY) ## Make .venv, as the others do when pyproject.toml has changed

clean: ## Remove what make made: .venv, caches and the example's database
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f example.sqlite3 example.sqlite3-wal example.sqlite3-shm
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --inexact: whoever installed more into .venv keeps it.
$(READY): pyproject.toml $(wildcard uv.lock)
	@set -e; \
	if uv --version >/dev/null 2>&1; then \
		echo "Setting up $(VENV) with uv …"; \
		uv sync --quiet --inexact; \
	else \
		for python in python3 python3.14 python3.13 python3.12 python3.11; do \
			if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then break; fi; \
			python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo "django_relay needs Python 3.11 or newer, and no python3 on the PATH is: install one, or uv." >&2; \
			exit 1; \
		fi; \
		echo "Setting up $(VENV) with $$python and pip, once; this takes a minute …"; \
		if ! $(PYTHON) -m pip --version >/dev/null 2>&1; then \
			$$python -m venv --clear $(VENV) || { \
				echo "$$python cannot make virtual environments: install its venv module (Debian, Ubuntu:" >&2; \
				echo "apt install python3-venv), or uv." >&2; \
				exit 1; \
			}; \
		fi; \
		$(PYTHON) -m pip install --quiet --upgrade pip; \
		$(PYTHON) -m pip install --quiet --editable '.[curl,postgres]' --group dev; \
	fi; \
	touch $(READY)
