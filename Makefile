PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo

.PHONY: demo test lint types bench clean

demo: $(VENV)/.run  ## train six rules on a forecasting task, then write runs/demo/report.html
	$(BIN)/perturbax compare --task mackey-glass --rules node,activity,activity+decor,one-step,bptt,frozen \
		--seeds 3 --steps 3000 --out $(DEMO)

test: $(VENV)/.dev  ## run all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(VENV)/.run  ## time updates against BPTT (QUICK=1: under one minute, for a look)
	JAX_PLATFORMS=cpu $(BIN)/python benchmarks/step.py $(if $(QUICK),--quick) --out runs/step.json

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/pyright

clean:
	rm -rf $(VENV)

# Installed once; again when the pinned versions or the package's own metadata change.
$(VENV)/.run: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("perturbax needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@
