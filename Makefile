.DEFAULT_GOAL := help
.PHONY: help setup run up test unit check chaos chaos-short soak stalls fuzz bench lock

# More arguments for the tool behind a target: make test ARGS="-k embedded".
ARGS ?=

help:  ## what can be made
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## the environment (.venv and system libraries) and nothing else; seconds when it is there
	@bin/setup

run:  ## the main job: starts everything, runs the example once, says what arrived, stops everything
	@bin/setup run
	@.venv/bin/pipeline up --run carrier_review $(ARGS)

up:  ## starts everything and stays up; Ctrl-C stops it
	@bin/setup run
	@.venv/bin/pipeline up $(ARGS)

test: setup  ## the tests
	@.venv/bin/python -m pytest -n 3 $(ARGS)

check: setup  ## what CI checks besides: lint, format, types, layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

unit: setup  ## the tests of single parts, without PostgreSQL
	@.venv/bin/python -m pytest -n 2 -m "not chaos and not postgresql" tests/unit $(ARGS)

chaos: setup  ## everything fails at random for 20 minutes; a table of what was lost or doubled
	@.venv/bin/python -m tests.chaos $(ARGS)

chaos-short: setup  ## the same for a minute, always with the same faults, and each step killed at each point: for CI
	@.venv/bin/python -m pytest -m chaos -n 2 tests/chaos/test_crashes.py
	@.venv/bin/python -m tests.chaos --seconds 60 --seed 1 $(ARGS)

soak: setup  ## single servers killed or gone for minutes
	@.venv/bin/python -m pytest -m chaos -s tests/chaos $(ARGS)

stalls: setup  ## the tests while their processes stand still at random for seconds: finds those that race
	@.venv/bin/python -m tests.stalls -n 3 $(ARGS)

fuzz: setup  ## asks the HTTP API whatever its OpenAPI document allows, at random; some minutes
	@FUZZ=100 .venv/bin/python -m pytest -p no:xdist --timeout 1800 tests/unit/api/test_schema.py $(ARGS)

bench: setup  ## the benchmarks; their figures stand in docs/benchmarks.md
	@.venv/bin/python -m benchmarks $(ARGS)

# Versions stay as they are unless asked: make lock ARGS=--upgrade, or ARGS="--upgrade-package celery".
LOCK = .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	--python-version 3.11 pyproject.toml

lock: setup  ## requirements/*.txt from pyproject.toml
	$(LOCK) --extra worker --extra embedded --extra build --extra dev --output-file requirements/dev.txt $(ARGS)
	$(LOCK) --extra worker --extra embedded --extra build --constraints requirements/dev.txt --output-file requirements/run.txt
	$(LOCK) --extra worker --constraints requirements/dev.txt --output-file requirements/worker.txt
	printf "hatchling\neditables\n" | $(subst pyproject.toml,-,$(LOCK)) --constraints requirements/dev.txt --output-file requirements/build.txt
	$(LOCK) --constraints requirements/dev.txt --output-file requirements/beat.txt
