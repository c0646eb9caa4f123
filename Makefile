# Two commands on a fresh machine with CPython 3.11 or later: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all test-wheel test-reliability bench bench-gpu check docs clean

demo: .venv/installed ## pretrain a tiny DNABERT-6 on the simulated clade
	$(BIN)/dnalm pretrain experiment=dnabert size=tiny data=demo run.dir=runs/demo run.replace=true

test: .venv/installed-dev ## what takes ten minutes on two cores; it says what it leaves out
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not long and not slow'
	@echo "left out: killed runs, several processes, whole commands (tests/conftest.py, SLOW); make test-all runs them"

test-all: .venv/installed-dev ## every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-wheel: ## every command of the wheel, installed with its runtime dependencies alone
	tests/wheel.sh $(PYTHON)

test-reliability: export DNALM_KILLS ?= 200
test-reliability: export DNALM_FIGURES = experiments/reliability/figures.jsonl
test-reliability: .venv/installed-dev ## killed runs, for longer; figures go to experiments/reliability
	rm -f $(DNALM_FIGURES)
	$(BIN)/python -m pytest tests/reliability -m 'long or not long'
	$(BIN)/python experiments/reliability/table.py

bench: .venv/installed-dev ## whole training beside transformers.Trainer, on this CPU, with nothing else running
	$(BIN)/python experiments/throughput/training.py --out runs/bench $(BENCH)

bench-gpu: .venv/installed-dev ## what this machine's GPU gives; BENCH='--size tiny' shows anywhere that it works
	$(BIN)/python experiments/throughput/gpu.py --out runs/bench-gpu $(BENCH)

# What dnalm needs to train beside torch, Lightning, transformers and their like, for CPython 3.12
CARRIED := annotated-types hydra-core lightning omegaconf platformdirs pybigtools pydantic pydantic_core typing_extensions \
	typing-inspection
FOR_LINUX := --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64
WITH_PINS := --quiet --disable-pip-version-check --no-deps --constraint constraints.txt

.whl: constraints.txt Makefile ## wheels that a machine with a GPU lacks, where it reaches no registry
	rm -rf $@ $@.part
	$(PYTHON) -m pip download $(WITH_PINS) $(FOR_LINUX) --dest $@.part $(CARRIED)
	$(PYTHON) -m pip wheel $(WITH_PINS) --wheel-dir $@.part antlr4-python3-runtime  # which has none to download
	mv $@.part $@

check: .venv/installed-dev ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/contracts/test_layers.py

docs: .venv/installed-dev ## the pages, held current with the source, as a site in site/
	$(BIN)/python docs/pages.py --check
	$(BIN)/python -m mkdocs build --strict

clean: ## remove the environment; runs and caches stay
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[dev,docs]'
	touch $@
