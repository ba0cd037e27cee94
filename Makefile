# Every target sets up .venv by itself; nothing has to be activated or exported.
PROFILE ?= standard

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help book notebooks test lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

book: notebooks  ## execute the notebooks (PROFILE=smoke|standard|full) and build the HTML book
	@# Sphinx forgets the warnings of pages it does not read again: after a failure, the next build starts afresh.
	@$(BIN)/jupyter-book build . -n -W --keep-going $(if $(CI),--all) || { rm -rf _build/.doctrees; exit 1; }
	@echo
	@echo "$(CURDIR)/_build/html/index.html"

notebooks: $(READY)  ## execute the notebooks that changed
	@$(BIN)/python -m tools.execute --profile $(PROFILE)

test: lint  ## lint, then run the tests
	@$(BIN)/python -m pytest

lint: $(READY)  ## ruff, notebooks included
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

clean:  ## forget executed notebooks and the built book; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .hypothesis

# Touched only after a complete install: an interrupted one is taken up again by the next `make`.
$(READY): pyproject.toml constraints.txt
	@sh tools/setup_venv.sh
	@touch $@
