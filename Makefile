# make demo [IMAGE=… POSITIVE=X,Y,Z]  segment by clicks; leaves demo/
# make test                           all tests
# make test-bare [TESTS=…]            those that need no torch, where there is none
# make lint                           style and types
# Each makes its environment, .venv or .venv-bare, first when it is missing.

SHELL := /bin/bash
VENV := .venv
READY := $(VENV)/.ready
BARE := .venv-bare
# Tests and torch share the cores: two test processes with one thread each.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-bare lint

demo: $(READY)
	@$(VENV)/bin/promptseg demo $(if $(IMAGE),"$(IMAGE)") $(if $(POSITIVE),--positive $(POSITIVE))

test: $(READY)
	@$(VENV)/bin/python -m pytest -n 2

test-bare: $(BARE)/.ready
	@$(BARE)/bin/python -m pytest -n 2 --without-torch $(TESTS)

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

$(READY): EXTRA := test
$(BARE)/.ready: EXTRA := test-bare

$(READY) $(BARE)/.ready: .ci/constraints.txt .ci/environment .ci/system-packages pyproject.toml
	@.ci/environment $(@D) $(EXTRA)
	@touch $@
