# `make quickstart` and `make test` do everything on a fresh machine, set-up included. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
# How many processes the tests share: one more than cores, since tests of several processes wait most of the time.
JOBS ?= 3
BIN := $(VENV)/bin
# Where Python may keep nothing that it compiled, each of the tests' many processes compiles torch, Ray and MLflow again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test test-fast test-all lint gpu bench fuzz storm lock docs setup clean

setup: $(VENV)/.installed

# --no-compile: Python compiles what is imported when it is first imported; compiling all of torch, Ray and MLflow
# takes as long as installing them.
$(VENV)/.installed: pyproject.toml
	@echo "Installing into $(VENV): some minutes, without a word. 7 GB with CUDA; docs/install.md has a way with 2 GB."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -e ".[all,test]"
	touch $@

quickstart: setup
	$(BIN)/ltbench run suites/quickstart.yaml

test: setup
	$(BIN)/python -m pytest -n $(JOBS) -m "not nightly"

test-fast: setup
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not nightly"

test-all: setup
	$(BIN)/python -c "import moto, s3fs" 2>/dev/null || $(BIN)/python -m pip install --quiet -e ".[all,storm]"
	$(BIN)/python -m pytest -n $(JOBS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPY_NUM_WORKERS=$(JOBS) $(BIN)/mypy

# cluster/requirements.txt: the packages of `ltbench[all,cluster]` in the versions of .venv, which the tests ran with, by hash,
# for all systems and versions of Python. For newer versions make .venv anew first.
lock: setup
	$(BIN)/python -c "import uv" 2>/dev/null || $(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)/versions.txt
	$(BIN)/python -m uv pip compile pyproject.toml --extra all --extra cluster --universal --python-version 3.11 \
	    --constraint $(VENV)/versions.txt --generate-hashes --no-annotate --custom-compile-command "make lock" --quiet \
	    --output-file cluster/requirements.txt

# The site in site/: open site/index.html. `--strict`: a broken link is an error.
docs: setup
	$(BIN)/python -c "import latex2mathml, material" 2>/dev/null || $(BIN)/python -m pip install --quiet -e ".[all,docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Inputs changed by chance, read in earnest: no traceback, bounded time and memory, nothing nonsensical accepted.
INPUTS ?= 100000
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $(INPUTS)

# Two drivers run a suite while workers, drivers, Rays and nodes are killed, signals come, the tracking server goes away
# and the clock is set. Its size is a parameter: make storm STORM="--seeds 17 --kills 100" has 204 trials.
STORM ?=
storm: setup
	$(BIN)/python -c "import moto, s3fs" 2>/dev/null || $(BIN)/python -m pip install --quiet -e ".[all,storm]"
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.storm $(STORM)

# On a machine with a GPU: are the numbers right, how fast is it? Results in gpu_check_out/.
gpu: setup
	PYTHON=$(BIN)/python bash benchmarks/gpu/check.sh cuda

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks --out benchmarks/figures.json --markdown benchmarks/figures.md

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
