# Game Night. A bare machine needs python3 (3.11 or later, with venv) and make; everything else is installed beside this file.

PYTHON ?= python3
BIN := .venv/bin
TOOLS := $(or $(GAMENIGHT_TOOLS),.tools)
UV := $(BIN)/uv
INSTALL := $(UV) pip install --python $(BIN)/python --require-hashes

# uv, pip, jgo and npm each bring certificates of their own; where the machine has its own, those are the right ones.
CERTIFICATES := $(or $(SSL_CERT_FILE),$(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt)))
ifneq ($(CERTIFICATES),)
export UV_SYSTEM_CERTS := 1
export NODE_EXTRA_CA_CERTS := $(CERTIFICATES)
export SSL_CERT_FILE := $(CERTIFICATES)
export PIP_CERT := $(CERTIFICATES)
export REQUESTS_CA_BUNDLE := $(CERTIFICATES)
endif

# Libraries are compiled at their first import and never again; with this set it would be at every start, 4 s of CPU a process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: play notebook setup mxnet-python test setup-dev setup-notebook lint check compose-test bench lock clean

play: setup  ## set up, then run the game until Ctrl-C
	@$(BIN)/python -m deploy.cli up

# The settings of the game that runs here: a notebook's own folder is another one.
NOTEBOOK := GAMENIGHT_HOME="$(abspath $(or $(GAMENIGHT_HOME),.gamenight))" GAMENIGHT_AWS="$(or $(GAMENIGHT_AWS),local)" PATH="$(CURDIR)/$(BIN):$$PATH"

notebook: setup setup-notebook  ## open notebooks/ in JupyterLab, on this machine alone and with a token; the game runs beside it
	@cd notebooks && $(NOTEBOOK) jupyter lab --ServerApp.ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None --LabApp.extension_manager=readonly

setup: .venv/main.stamp
	@$(BIN)/python -m deploy.local.install --tools $(TOOLS)

mxnet-python: .venv/uv.stamp  ## Python 3.11, which MXNet wants, beside a newer one: uv brings it where the machine has none
	@$(UV) python find --system --no-python-downloads 3.11 >/dev/null 2>&1 || $(UV) python install 3.11

test: setup setup-dev setup-notebook lint  ## set up, then pass every check and every test; one that is skipped fails it (MAY_SKIP=1: only says so)
	@$(BIN)/python -m deploy.local.browser
	$(BIN)/python -m tests.web
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=line test-unit-a-o test-unit-p-z test-contract  # side by side: all wait often
	$(BIN)/python -m pytest tests/integration tests/e2e $(call MUST,285)

# The least number of tests of a run. Raise it as tests are added, or a run that lost most of its tests would pass.
MUST = $(if $(MAY_SKIP),-rsx,--all-must-run=$(1))
# With one thread for its sums, as the product has: several runs with two would wait for each other.
BESIDE := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: test-unit-a-o test-unit-p-z test-contract

test-unit-a-o:
	$(BESIDE) $(wildcard tests/unit/test_[a-o]*.py) $(call MUST,2330)

test-unit-p-z:
	$(BESIDE) $(wildcard tests/unit/test_[p-z]*.py) $(call MUST,1510)

test-contract:
	$(BESIDE) tests/contract $(call MUST,1600)

# An image's modules import each other, and those of contract/, by bare names.
IMAGES := $(patsubst %/,%,$(wildcard trainers/images/*/ tests/images/*/ tests/bench/images/*/))

lint: setup setup-dev  ## style, types, import rules; the types of web/ too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy trainers/images/make_base.py
	for image in $(IMAGES); do MYPYPATH=$$image:trainers/images/contract $(BIN)/mypy --explicit-package-bases $$image/*.py || exit 1; done
	$(BIN)/lint-imports
	$(BIN)/node $(TOOLS)/web/node_modules/typescript/bin/tsc -p web/jsconfig.json

check: lint setup-notebook  ## the quick loop
	$(BIN)/python -m tests.web
	$(BIN)/python -m pytest tests/unit tests/contract -rsx

compose-test:  ## build the containers, play, kill each, play on; says so where there is no engine (Error 3)
	$(PYTHON) -m tests.containers

bench: setup setup-dev setup-notebook  ## measure; see docs/benchmarks.md
	$(BIN)/python -m tests.bench.loop
	$(BIN)/python -m tests.bench.serving
	$(BIN)/python -m tests.bench.archive
	$(BIN)/python -m tests.bench.price
	$(BIN)/python -m tests.bench.floor
	$(BIN)/python -m tests.bench.metrics
	$(BIN)/python -m tests.bench.peers
	$(BIN)/python -m tests.bench.learning
	$(BIN)/python -m tests.bench.experiments
	$(BIN)/python -m tests.bench.trust
	$(BIN)/python -m tests.bench.gold
	$(BIN)/python -m tests.bench.replay
	$(BIN)/python -m tests.bench.honest
	$(BIN)/python -m tests.bench.controlled
	$(BIN)/python -m tests.bench.drift
	$(BIN)/python -m tests.bench.training
	$(BIN)/python -m tests.bench.continuing
	$(BIN)/python -m tests.bench.unlearning
	$(BIN)/python -m tests.bench.forgotten
	$(BIN)/python -m tests.bench.blending
	$(BIN)/python -m tests.bench.malice
	$(BIN)/python -m tests.bench.workers
	$(BIN)/python -m tests.bench.exporting

setup-dev: .venv/dev.stamp $(TOOLS)/awscli.stamp $(TOOLS)/web.stamp

setup-notebook: .venv/notebook.stamp  ## what data scientists need besides: JupyterLab, DuckDB, Tableau's library

.venv/uv.stamp: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Game Night needs Python 3.11 or later; $(PYTHON) is `$(PYTHON) -V 2>&1`. Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "making .venv"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/main.stamp: .venv/uv.stamp requirements/main.txt pyproject.toml
	@echo "installing what the game runs on (1 GB, a minute or two)"
	@$(INSTALL) -r requirements/main.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

.venv/dev.stamp: .venv/main.stamp requirements/dev.txt
	@echo "installing what the tests need besides"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

.venv/notebook.stamp: .venv/main.stamp requirements/notebook.txt
	@echo "installing JupyterLab, DuckDB and Tableau's library (0.4 GB)"
	@$(INSTALL) -r requirements/notebook.txt
	@touch $@

$(TOOLS)/awscli.stamp: .venv/uv.stamp requirements/awscli.txt
	@echo "installing the AWS command line, which a test asks the local SageMaker with"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(TOOLS)/awscli
	@$(UV) pip install --quiet --python $(TOOLS)/awscli/bin/python --require-hashes -r requirements/awscli.txt
	@touch $@

WEB := tests/web/package.json tests/web/package-lock.json tests/web/.npmrc

$(TOOLS)/web.stamp: .venv/dev.stamp $(WEB)
	@echo "installing what checks the types of web/"
	@mkdir -p $(TOOLS)/web && cp $(WEB) $(TOOLS)/web/
	@cd $(TOOLS)/web && $(CURDIR)/$(BIN)/npm ci --silent
	@touch $@

# Locks: exact versions with hashes, for every platform, and no addresses.
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 $(UPGRADE)
# Where images are: with us, and where GAMENIGHT_IMAGES says.
IMAGE_FOLDERS := $(sort trainers/images $(subst :, ,$(GAMENIGHT_IMAGES)))
INS := requirements/main.in $(filter-out requirements/main.in,$(wildcard requirements/*.in $(IMAGE_FOLDERS:%=%/*/requirements*.in) tests/bench/peer_jobs/*.in))

lock: setup-dev  ## resolve all requirements anew (UPGRADE=--upgrade for newer versions)
	@for file in $(INS); do \
	  echo "$$file"; \
	  case $$file in requirements/main.in|requirements/uv.in|requirements/s3.in|requirements/awscli.in) same=;; \
	    requirements/notebook.in) same="-c requirements/main.txt -c requirements/dev.txt";; \
	    requirements/*) same="-c requirements/main.txt";; *) same=;; esac; \
	  $(COMPILE) $$file $$same -o $${file%.in}.txt || exit 1; \
	done
	@cp $(WEB) $(TOOLS)/web/ && cd $(TOOLS)/web && $(CURDIR)/$(BIN)/npm install --package-lock-only --silent && cp package-lock.json $(CURDIR)/tests/web/
	@$(BIN)/python -m deploy.local.install --lock

clean:  ## remove what was installed; the game's data stay in .gamenight (gamenight reset)
	rm -rf .venv $(TOOLS) .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
