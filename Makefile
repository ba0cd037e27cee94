# Every target sets up .venv by itself; nothing has to be activated or exported.
PROFILE ?= standard

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help book notebooks sphinx single links times teaching test lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

book: notebooks  ## execute the notebooks (PROFILE=smoke|standard|full) and build the HTML book
	@# Sphinx forgets the warnings of pages it does not read again: after a failure, the next build starts afresh.
	@$(BIN)/jupyter-book build . -n -W --keep-going $(if $(CI),--all) || { rm -rf _build/.doctrees; exit 1; }
	@echo
	@echo "$(CURDIR)/_build/html/index.html"

notebooks: $(READY)  ## execute the notebooks that changed
	@$(BIN)/python -m tools.execute --profile $(PROFILE)

sphinx: notebooks  ## the same book by plain Sphinx, without jupyter-book
	@$(BIN)/python -m tools.plain_sphinx html

single: notebooks  ## the book on one page, and as a PDF where there is a Chromium
	@$(BIN)/python -m tools.plain_sphinx singlehtml

links: notebooks  ## follow every link that leaves the book
	@$(BIN)/python -m tools.plain_sphinx linkcheck

times: $(READY)  ## measure the run times that the book states and keep them
	@for profile in smoke standard; do \
		$(BIN)/python -m tools.execute --profile $$profile && $(BIN)/python -m tools.statistics --store || exit 1; \
	done

teaching: notebooks  ## the teacher's kit: one zip with notebooks, slides, syllabi, exam
	@$(BIN)/python -m tools.teaching

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
