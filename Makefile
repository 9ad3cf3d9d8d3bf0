# Everything a new machine needs: Python ≥ 3.11, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test lint types docs clean

install: $(STAMP)

# The stamp is written last, so an interrupted install is done again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "autopeft needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/autopeft fetch minilm vader-movies --into .cache
	$(BIN)/autopeft profile --measure
	$(BIN)/autopeft search --model .cache/minilm --data .cache/vader-movies/reviews.csv \
		--time 280s --seed 0 --output runs/demo --resume

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# Two processes, since most of it is work for one core; a file stays in one of them, and its fixtures with it.
test: lint types
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

# The reference pages are made from the code; a link that leads nowhere fails the build.
docs: install
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .cache runs dist build site
