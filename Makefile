# make demo     a small site, scraped, killed half way, resumed
# make test     all tests; those that need root, nginx, strace, tmux or chromium say so where these are missing
# make check    ruff, mypy --strict, import-linter
# make bench    what a job costs, beside what its file operations alone cost, and beside other tools: about an hour
# make bench-smoke  counts, not times: file operations and syncs a job, what a start reads (needs strace)
# make torture  the fault tests at length: kills and power cuts by the hundred (RUNNER_TEST_SEED=N repeats them)
# make clean    remove what the commands above made
#
# The first use makes .venv with all that is needed. PYTHON=python3.13 make ... takes another interpreter.

PYTHON ?= python3
ROUNDS ?= 10
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder
BENCH_ARGS ?=

# Commands are started by the hundred: each would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench bench-smoke torture clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or say PYTHON=... make" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is `$(PYTHON) -V 2>&1`: say PYTHON=/path/to/python3.11 make ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV), once: this takes a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/python -m runner.demo

test: $(READY)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-smoke: $(READY)
	@$(BIN)/python -m bench.counts

torture: $(READY)
	@RUNNER_TEST_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -n auto tests/faults tests/acceptance/test_probe.py tests/acceptance/test_scrape_site.py

clean:
	rm -rf $(VENV) .demo .screenshots build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
