# make demo: from a fresh clone to a report. make check: linters and types.
# make test: the suite without what takes long (compiling, many processes, some sweeps), which is make test-slow.
# Reports go to reports/local, which git ignores; REPORTS=reports writes the committed ones anew.
# Needs Python 3.11 or newer with venv and pip; PYTHON=python3.12 picks another one.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu' takes the small CPU build of torch on Linux
PIP_ARGS ?=
REPORTS ?= reports/local
# the suite runs in as many processes as there are cores, four at most: each needs up to 2 GB
SPREAD ?= -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo article claims real-quick test test-slow gpu gpu-wheels wheel check audit format lock clean

demo: $(VENV)/.installed
	$(BIN)/gru-bench train experiment=quick hydra/launcher=workers; \
	  code=$$?; \
	  $(BIN)/gru-bench report experiment=quick output=$(REPORTS)/quick && \
	  echo "MLflow UI: $(BIN)/gru-bench ui" && exit $$code

article: $(VENV)/.installed
	$(BIN)/gru-bench train experiment=article hydra/launcher=workers; \
	  code=$$?; \
	  $(BIN)/gru-bench report experiment=article output=$(REPORTS)/article && exit $$code

claims: $(VENV)/.installed
	$(BIN)/gru-bench train experiment=claims hydra/launcher=workers; \
	  code=$$?; \
	  $(BIN)/gru-bench report experiment=claims output=$(REPORTS)/claims && exit $$code

# data sets come from the folder that GRU_BENCH_DATA names, else from the hub
real-quick: $(VENV)/.installed
	$(BIN)/gru-bench train experiment=real_quick hydra/launcher=workers; \
	  code=$$?; \
	  $(BIN)/gru-bench report experiment=real_quick output=$(REPORTS)/real_quick && exit $$code

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(SPREAD) $(PYTEST_ARGS)

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow $(SPREAD) $(PYTEST_ARGS)

# for a machine with a CUDA card and little time: no environment is made and nothing is fetched; PYTHON is one that has
# torch. What else it lacks comes from the folder that gpu-wheels has filled, on a machine with a network, for GPU_PYTHON
# less what GPU_HAS names (names, or a file of them)
WHEELS ?= wheels
GPU_PYTHON ?= 3.12
GPU_HAS ?=
GPU_ARGS ?=

gpu:
	$(PYTHON) bench/gpu.py $(if $(wildcard $(WHEELS)/*.whl),--wheels $(WHEELS)) $(GPU_ARGS)

gpu-wheels:
	$(PYTHON) bench/gpu_wheels.py --python $(GPU_PYTHON) --has "$(GPU_HAS)" --output $(WHEELS)

# dist/*.whl with the compiled code in it, for Linux on x86-64
wheel: $(VENV)/.installed
	GRU_BENCH_PREBUILT=1 $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# known vulnerabilities of the locked versions; needs a network, and says so where there is none
audit:
	PYTHON=$(PYTHON) .ci/audit

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# writes the versions that are installed now; run it in an environment that passes the suite
lock: $(VENV)/.installed
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
