# `make demo` and `make test` do all set-up on a machine with Python 3.11 or later and make.
PYTHON ?= python3
VENV ?= .venv
PYTHON_OLDEST ?= python3.11
PYTHON_NEWEST ?= python3
COMPAT ?= .compat
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
TOOLS := $(VENV)/tools

.PHONY: demo test test-browser test-gpu compat exact notebooks docs lint types quality speed clean

demo: $(STAMP)  ## train the semi-supervised VAE on the built-in digits, about three minutes
	$(BIN)/python examples/ssvae_mnist.py --data digits --steps 7500

test: $(STAMP)  ## all tests, doctests and notebooks
	$(BIN)/python -m pytest

test-browser: $(STAMP)  ## the panel in a real browser against real Jupyter servers, pictures in outputs/panel
	@command -v chromium || command -v google-chrome || \
	  { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium > /dev/null; } || \
	  { echo "a browser is missing: sudo apt-get install chromium"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest tests/browser -m browser -n0

test-gpu: $(STAMP)  ## training and evaluation on an NVIDIA GPU, with the torch that is installed
	$(BIN)/python -m pytest tests/gpu -m gpu --dist load

compat:  ## all tests on the oldest and on the newest releases that setup.cfg allows, about 15 GB
	.ci/compat oldest $(PYTHON_OLDEST) $(COMPAT)
	.ci/compat newest $(PYTHON_NEWEST) $(COMPAT)

exact: $(STAMP)  ## every member's Pyro estimates beside the closed forms
	$(BIN)/python -m vaezoo

notebooks: $(STAMP)  ## run the notebooks and write their outputs
	$(BIN)/python notebooks/execute.py

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TOOLS)
	$(BIN)/mypy

docs: $(STAMP)  ## the site, in build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/site
	@echo build/site/index.html

quality: $(STAMP)  ## every result in docs/quality.md, days on two cores; what is stopped goes on
	$(BIN)/python -m benchmarks.quality run all --seeds 0 1 2
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.quality table
	$(BIN)/python -m benchmarks.gradients

speed: $(STAMP)  ## training steps, epochs, cold starts and evaluation against peers, about an hour
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.flows

# bytecode takes longer than all else, and pip writes it with one core: torch's is written meanwhile
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
  --no-build-isolation -c constraints.txt
BYTECODE := $(BIN)/python -m compileall -qq -x /tests/

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch setuptools
	@$(BYTECODE) $(VENV)/lib/*/site-packages/*/ > /dev/null & $(INSTALL) -e '.[test]' && wait
	@$(BYTECODE) -j 0 $(VENV)/lib vaezoo > /dev/null || true  # of whatever compiles
	touch $@

$(TOOLS): $(STAMP)
	$(INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(COMPAT) build dist *.egg-info outputs
