# From a fresh clone, with Python 3.11+ and nothing else: `make demo`, `make test`. `make help`
# lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# A wheel index asked for torch alone, for those who mirror its CPU build, which spares gigabytes
# of accelerator packages.
TORCH_INDEX ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=

ROOMS := riskenv wrappers data train
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)

# An editable install links each file by name, so a file that comes or goes asks for new links.
# The stamp's name is the digest of the list; the links of another checkout do not count.
FILES := $(shell (pwd; find $(ROOMS) -type f ! -name '*.py[co]') | LC_ALL=C sort | cksum | tr -d ' ')
LINKS := $(VENV)/.links-$(FILES)

.NOTPARALLEL:
.PHONY: help venv demo test lint types warmup bench format clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile
	@echo 'Variables: VENV=$(VENV) PYTHON=$(PYTHON) TORCH_INDEX= PYTEST_ARGS= DEMO_ARGS='

venv: $(VENV)/.dev $(LINKS) ## make the environment with all that development needs

demo: $(VENV)/.train $(LINKS) ## train inside the risk layer, judge with and without it, write the report
	$(strip $(BIN)/riskenv demo $(DEMO_ARGS))

test: lint types ## ruff, mypy on the four rooms, and pytest on up to four cores
	$(strip $(BIN)/pytest -n auto --maxprocesses 4 $(PYTEST_ARGS))

lint: $(VENV)/.dev $(LINKS) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# From the root mypy finds the folder riskenv/ and silently checks one room of four, so it runs in
# tests/, on the installed package, and the modules it counts are compared with those on disk.
types: $(VENV)/.dev $(LINKS) ## mypy --strict on every module of the four rooms
	@cd tests && report=$$($(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p riskenv); \
	status=$$?; echo "$$report"; [ $$status -eq 0 ] || exit $$status; cd ..; \
	wanted=$$(find $(ROOMS) -name '*.py' | wc -l | tr -d ' '); \
	if ! grep -q " $$wanted source files" <<<"$$report"; then \
	  echo "types: mypy must check the $$wanted modules of $(ROOMS)" >&2; exit 1; fi

format: $(VENV)/.dev ## ruff: mend and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

warmup: $(VENV)/.train $(LINKS) ## compile the kernels now
	$(BIN)/riskenv warmup

bench: $(VENV)/.dev $(LINKS) ## benchmarks, each a ratio to a peer in the same run
	$(BIN)/pytest tests/benchmarks

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# torch comes first and by its pin: an unpinned torch, pulled in by another package, may be a build
# with gigabytes of accelerator packages.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "riskenv needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V). Try make PYTHON=python3.11" >&2; exit 1; }
	@echo "installing into $(VENV) (once; about 3 minutes)"; \
	$(PYTHON) -m venv $(VENV) && \
	$(PIP) install -c constraints.txt setuptools '$(TORCH)' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)); \
	status=$$?; [ $$status -eq 0 ] || exit $$status; \
	echo "installed $(TORCH) in $$SECONDS s"; touch $@

# `.train` is what the package needs with all its extras, `.dev` what its tests need on top.
$(VENV)/.train: $(VENV)/.torch pyproject.toml constraints.txt
	$(call install,train)
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(call install,dev)
	@touch $(VENV)/.train $@

# setuptools is in the environment, by its pin, so the build does not fetch one of its own.
# build/lib is emptied because setuptools would ship again a module that was deleted since.
define install
@rm -rf build/lib build/bdist.*; \
$(PIP) install -c constraints.txt --no-build-isolation -e '.[$(1)]' --config-settings editable_mode=strict; \
status=$$?; [ $$status -eq 0 ] || exit $$status; \
rm -f $(VENV)/.links-*; touch $(LINKS); \
echo "installed riskenv[$(1)] in $$SECONDS s"
endef

# Runs only where neither recipe above has just made the links.
$(LINKS): | $(VENV)/.train
	@[ -e $@ ] && compgen -G 'build/__editable__.riskenv-*' >/dev/null || { \
	  $(PIP) install --no-deps --no-build-isolation -e . --config-settings editable_mode=strict && \
	  rm -f $(VENV)/.links-* && touch $@; }

# The links live in build/, which anybody may have removed.
ifeq ($(wildcard build/__editable__.riskenv-*),)
$(LINKS): FORCE
endif
FORCE:
