# Needs python3 (3.11 or newer) with venv, and make. Everything runs in .venv, which is made here from the hashed lock
# when it is missing or older than the lock. Another Python: make PYTHON=python3.12 demo
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Nothing that runs here reports to anyone: the first is for evidently and prefect, the second for prefect's server.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

# Compiled once, evidently and prefect import in half the time.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(BIN)/python -m pytest
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-lowest image-test bench lint format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## a year of customer segments, refitted and re-scored by the flows
	@$(BIN)/python flows/demo.py

test: $(STAMP) ## all tests: the fast ones and those with servers, with coverage, then the slow ones
	$(PYTEST) -n 2 -m "not slow and not server" --cov --cov-report=
	@# Whole files, in their order: each has servers of its own, which it mostly waits for, so there can be more of them.
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "server and not image" --cov --cov-append --cov-report=term
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not server and not image"

test-fast: $(STAMP) ## the tests that need no server and no patience
	$(PYTEST) -n 2 -m "not slow and not server"

# A venv of its own, made anew each time: what is installed already would be kept.
test-lowest: $(STAMP) ## the fast tests with the oldest dependencies that pyproject.toml allows
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable . --group dev
	.venv-lowest/bin/python -m pytest -n 2 -m "not slow and not server"

image-test: $(STAMP) ## build the container image and use it; needs root, buildah and debootstrap but no engine
	$(PYTEST) -m image

bench: $(STAMP) ## time and quality beside the loop people write by hand, a scaled-down set
	$(BIN)/python tests/benchmarks/run.py

lint: $(STAMP) ## format, lint rules, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## format the code and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Keeps what is locked unless pyproject.toml asks for something else; newer releases: make lock ARGS=--upgrade
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --custom-compile-command "make lock" --quiet
lock: | $(STAMP) ## requirements.lock (everything) and requirements-runtime.lock (for the image)
	$(LOCK) $(ARGS) --group dev --output-file requirements.lock
	$(LOCK) --group build --constraint requirements.lock --output-file requirements-runtime.lock

clean: ## remove .venv and everything that tools leave behind
	rm -rf mutants .venv .venv-lowest .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find flows kmstream tests -name __pycache__ -prune -exec rm -rf {} +

# uv installs the lock in seconds where pip takes a minute. It comes from the lock too, with its hash; where it can't be
# had or can't reach the index, pip installs the same lock.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "kmstream needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)' \
	  2>/dev/null || \
	  $(PYTHON) -m venv --clear .venv || { \
	  echo "$(PYTHON) can't make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@sed '/^uv==/,/[^\\]$$/d' requirements.lock > .venv/without-uv.lock
	@echo "installing requirements.lock into .venv ..."
	@{ $(PIP) --require-hashes -r .venv/uv.lock && \
	   $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; } || { \
	   echo "not with uv; now with pip, which takes about a minute ..." >&2; \
	   $(PIP) --no-deps --no-compile --require-hashes -r .venv/without-uv.lock; }
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
