# Everything happens in this folder: the environment in .venv, Flower's state in .flwr, results in runs.
# `make` or `make help` lists the targets. PYTHON chooses the interpreter (3.11 or later).

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# The home directory stays as it was, nobody is told of a run, and a process takes one core.
export FLWR_HOME := $(CURDIR)/.flwr
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export RAY_USAGE_STATS_ENABLED := 0
export ORT_DISABLE_TELEMETRY := 1
export RAY_DEDUP_LOGS := 0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib
export OMP_NUM_THREADS := 1
export NO_MKDOCS_2_WARNING := 1
# pip asks rustc for its version, and a rustc that rustup provides answers by writing settings.
export RUSTUP_HOME := $(or $(RUSTUP_HOME),$(wildcard $(HOME)/.rustup),$(CURDIR)/$(VENV)/rustup)
export PYTHONUNBUFFERED := 1
# pytest rewrites the asserts of every test file; kept, they need not be rewritten for each worker and run.
unexport PYTHONDONTWRITEBYTECODE

UNIT := not engine and not slow and not browser
ONE_RAY_TEST := test_both_engines_give_the_same_model and masked
ONE_DEPLOYMENT_TEST := test_up_trains_over_tls
FLOWER_RUN := $(CURDIR)/runs/quickstart-flower

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(VENV)/.installed  ## Set up and train across five hospitals: half a minute after the set-up
	@$(BIN)/fedlearn simulate simulations/quickstart.toml

.PHONY: install
install: $(VENV)/.installed  ## Set up .venv with fedlearn and the tested versions

.PHONY: test
test: check  ## Set up and run all checks, the unit tests, one test on Ray, one over TLS, pages in a browser
	@$(BIN)/pytest -q -m engine -k "$(ONE_RAY_TEST)"
	@$(BIN)/pytest -q -m deployment -k "$(ONE_DEPLOYMENT_TEST)"
	@$(BIN)/pytest -q -m browser

.PHONY: check
check: $(VENV)/.developing  ## Set up and run format, lint, types, layers, unit tests and doctests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy fedlearn tests docs/configuration_table.py
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q -n auto --dist worksteal -m "$(UNIT)"

.PHONY: test-slow
test-slow: $(VENV)/.developing  ## Run the long statistics and trainings
	@$(BIN)/pytest -q -m slow

.PHONY: test-engine
test-engine: $(VENV)/.developing  ## Run every test that starts Flower, Ray or other processes
	@$(BIN)/pytest -q -m "engine and not deployment"

.PHONY: test-deployment
test-deployment: $(VENV)/.developing  ## Run the fault table on real processes over TLS
	@$(BIN)/pytest -q -n 3 --dist loadfile -m "deployment and not slow" tests/deployment

.PHONY: test-browser
test-browser: $(VENV)/.developing  ## Open the pages that runs write in a headless Chromium
	@$(BIN)/pytest -q -m browser

.PHONY: screenshots
screenshots: $(VENV)/.developing  ## Draw the pictures in docs/images, with Chromium: five minutes
	@$(BIN)/python -m tests.browser.screenshots

FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: $(VENV)/.fuzzing  ## Fuzz every decoder for FUZZ_SECONDS (60) each: twenty minutes
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# The leash ends the SuperLink that `flwr run` leaves behind. The last line is there because
# `flwr run` ends with 0 also when the run has failed.
.PHONY: flower
flower: $(VENV)/.installed  ## Run the quickstart with `flwr run .`, offline and in this folder
	@rm -f "$(FLOWER_RUN)/result.json" "$(FLOWER_RUN)/failure.json"
	@PATH="$(BIN):$$PATH" $(BIN)/python -m fedlearn.federation.leash \
	  $(BIN)/flwr run . --stream -c "run-dir='$(FLOWER_RUN)'" \
	  --federation-config 'num-supernodes=5 client-resources-num-cpus=1 init-args-log-to-driver=false'
	@test -f "$(FLOWER_RUN)/result.json" || { cat "$(FLOWER_RUN)/failure.json"; exit 1; }

# A folder with a folder per data set: some questions are asked of data that does not come with fedlearn.
FEDLEARN_DATA ?= $(wildcard $(CURDIR)/../shared/data)
SCENARIOS = $(BIN)/fedlearn scenarios --jobs 2 $(if $(FEDLEARN_DATA),--data "$(FEDLEARN_DATA)")

.PHONY: simulations
simulations: $(VENV)/.installed  ## Answer the questions of simulations/ and write its page: at most a quarter of an hour
	@$(SCENARIOS)

.PHONY: simulations-long
simulations-long: $(VENV)/.installed  ## Answer the long questions too: about an hour of one core
	@$(SCENARIOS) --long

.PHONY: docs
docs: $(VENV)/.developing  ## Build the documentation into site/
	@$(BIN)/python docs/configuration_table.py
	@$(BIN)/mkdocs build --strict

.PHONY: clean
clean:  ## Remove what the targets above have written, .venv included
	find fedlearn tests docs -name __pycache__ -prune -exec rm -rf {} +
	rm -rf $(VENV) .flwr runs site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache fuzz-findings

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "fedlearn needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "setting up $(VENV) (a few minutes the first time)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.fuzzing: pyproject.toml constraints.txt $(VENV)/.developing
	@$(PIP) -e ".[dev,docs,fuzz]"
	@touch $@

$(VENV)/.developing: pyproject.toml constraints.txt $(VENV)/.installed
	@$(PIP) -e ".[dev,docs]"
	@touch $@
