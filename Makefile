# make demo [IMAGE=… POSITIVE=X,Y,Z]  segment by clicks; leaves demo/
# make test                           all tests
# make test-bare [TESTS=…]            those that need no torch, where there is none
# make lint                           style and types
# make docs                           the pages and the library's reference as a site, build/docs/index.html
# Each makes its environment, .venv, .venv-bare or .venv-docs, first when it is missing.

SHELL := /bin/bash
VENV := .venv
READY := $(VENV)/.ready
BARE := .venv-bare
DOCS := .venv-docs
# Tests and torch share the cores: two test processes with one thread each.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-bare lint docs

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

docs: $(DOCS)/.ready
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --config-file Resources/Docs/site/mkdocs.yml

$(READY): EXTRA := test
$(BARE)/.ready: EXTRA := test-bare
$(DOCS)/.ready: EXTRA := docs

$(READY) $(BARE)/.ready $(DOCS)/.ready: .ci/constraints.txt .ci/environment .ci/system-packages pyproject.toml
	@.ci/environment $(@D) $(EXTRA)
	@touch $@
