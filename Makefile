# make demo [IMAGE=… POSITIVE=X,Y,Z]  segment by clicks; leaves demo/
# make test                           all tests
# make lint                           style and types
# Each makes its environment, .venv, first when it is missing.

SHELL := /bin/bash
VENV := .venv
READY := $(VENV)/.ready
# Tests and torch share the cores: two test processes with one thread each.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint

demo: $(READY)
	@$(VENV)/bin/promptseg demo $(if $(IMAGE),"$(IMAGE)") $(if $(POSITIVE),--positive $(POSITIVE))

test: $(READY)
	@$(VENV)/bin/python -m pytest -n 2

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

$(READY): .ci/constraints.txt .ci/environment .ci/system-packages pyproject.toml
	@.ci/environment $(VENV)
	@touch $@
