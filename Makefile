PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
TESTS ?=
# The tests of a file stay in one process: they share what is compiled, and fixtures of a module. Files come in their
# order: those with few tests, which would be last, take longest.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo help test test-quick test-newest newest-environment catalogue lint types bench docs clean

demo: $(VENV)/.run  ## train six rules on a forecasting task, then write runs/demo/report.html
	$(BIN)/perturbax compare --task mackey-glass --rules node,activity,activity+decor,one-step,bptt,frozen \
		--seeds 3 --steps 3000 --out $(DEMO)

# Every target with a comment behind two of these signs, in the order of this file.
help:  ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target about; do printf '  make %-13s %s\n' "$$target" "$$about"; done

test: $(VENV)/.dev  ## run all tests, or some: make test TESTS=tests/cells
	$(BIN)/python $(PYTEST) $(TESTS)

# A look at every room within two minutes: the interface of rules, layers, the exactness of the main rules on
# one cell, tasks, a run that is stopped and resumed, the command line, and which room imports which.
EXACT := tests/rules/test_on_every_cell.py
QUICK_TESTS := tests/test_rooms.py tests/learning/test_estimator.py tests/network/test_arrays.py \
	tests/network/test_decorrelation.py tests/cells/test_cells.py \
	'tests/rules/perturbation/test_exact.py::test_node_and_innovation[tanh-plain]' \
	'tests/rules/perturbation/test_exact.py::test_weight[tanh]' \
	tests/rules/perturbation/test_exact.py::test_activity_is_unbiased_for_one_layer_and_one_step \
	'tests/rules/test_gradient_free.py::test_forward_gradients[tanh]' \
	'tests/rules/test_gradient_free.py::test_evolution_is_unbiased_without_shaping[tanh]' \
	'tests/rules/test_gradient_free.py::test_reward_is_unbiased_against_any_earlier_baseline[tanh]' \
	'$(EXACT)::test_exact[rtrl-tanh]' '$(EXACT)::test_exact[truncated-tanh]' \
	'$(EXACT)::test_cut[e-prop-tanh-r]' '$(EXACT)::test_cut[rflo-tanh-r]' '$(EXACT)::test_cut[snap-tanh-1]' \
	tests/tasks/test_csv_table.py tests/experiment/test_resolve.py \
	'tests/experiment/test_run.py::test_resumed_run_equals_an_uninterrupted_one[sequence]' \
	tests/cli/test_main.py tests/cli/test_help.py

test-quick: $(VENV)/.dev  ## run some tests of every room, within two minutes
	$(BIN)/python $(PYTEST) $(QUICK_TESTS)

# The same tests with the newest version of everything, on Python 3.13 or else 3.12, in an environment of its own.
# Another interpreter: make test-newest PYTHON=python3.14
NEWEST := .venv-newest
NEWEST_PYTHON = $(or $(filter-out python3,$(PYTHON)),$(shell .ci/newest-python))
test-newest: $(NEWEST)/.test  ## run all tests with the newest versions of everything
	@$(NEWEST)/bin/python -c 'import sys; from importlib.metadata import version; \
		print("Python", sys.version.split()[0], *(f"{p} {version(p)}" for p in "jax equinox optax numpy jaxtyping".split()))'
	$(NEWEST)/bin/python $(PYTEST) $(TESTS)

newest-environment: $(NEWEST)/.test  ## make the environment of test-newest

bench: $(VENV)/.run  ## time updates against BPTT on a GPU if there is one (QUICK=1: under one minute, for a look)
	$(BIN)/python benchmarks/step.py $(if $(QUICK),--quick) --out runs/step.json

catalogue: $(VENV)/.run  ## write what help, lists and completion say of rules, cells and tasks, from their classes
	JAX_PLATFORMS=cpu $(BIN)/python -m perturbax.cli.catalogue

lint: $(VENV)/.dev  ## check lint and format with ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev  ## check types with pyright
	$(BIN)/pyright

SITE := docs/_build/html
docs: $(VENV)/.docs  ## build the documentation site into docs/_build/html; every link is checked
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs $(SITE)
	$(BIN)/python docs/_site/check.py $(SITE)

clean:  ## remove the environments that make has created
	rm -rf $(VENV) $(NEWEST)

# Installed once; again when the pinned versions or the package's own metadata change.
$(VENV)/.run: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("perturbax needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# Without constraints: whatever is newest on the day it is made.
$(NEWEST)/.test: pyproject.toml
	@test -n "$(NEWEST_PYTHON)" || \
		{ echo "test-newest: found no Python 3.13 or 3.12; name one: make test-newest PYTHON=/path/to/python" >&2; exit 1; }
	rm -rf $(NEWEST)
	$(NEWEST_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@
