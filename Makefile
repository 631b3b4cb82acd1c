# make demo | make test | make lint: each does its own set-up in .venv; Python >= 3.11 and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
DATA ?=
TEST_ARGS ?=
# accelerate gives a process one CPU thread unless it is told otherwise.
CORES := $(shell nproc)
DEMO_DATA := $(if $(DATA),$(DATA),$(OUT)/synthetic)
# Rendered clips repeat themselves more than surgery does: looking for duplicates and idle ends would take a third of them.
RENDERED := fps=3 licence=apache-2.0 deidentify=false filters.duplicate.enabled=false filters.trim.enabled=false

# What was tested is pinned in constraints.txt, so that installs repeat.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-transformers lint format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo [DATA=folder] [OUT=runs/demo]   the whole way: corpus, pretraining, benchmark, model card"
	@echo "make test                                  all tests"
	@echo "make test-transformers                     the common tests of transformers on ZEN's classes (one download)"
	@echo "make lint                                  ruff and mypy"
	@echo "make format                                rewrite with ruff"
	@echo "make clean                                 remove the virtual environment and caches"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable ".[demo]"
	touch $@

$(VENV)/.dev-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable ".[dev]"
	touch $@ $(VENV)/.demo-installed

# glibc gives large buffers back to the system after every batch; keeping them makes CPU inference up to 1.5 times faster.
demo: export MALLOC_TOP_PAD_ := 268435456
demo: export MALLOC_MMAP_THRESHOLD_ := 4294967296
demo: export MALLOC_TRIM_THRESHOLD_ := 4294967296
# The same commands a user types; without DATA they run on rendered clips, short ones: a student needs many cases to
# learn what new cases have in common.
demo: $(VENV)/.demo-installed
ifeq ($(DATA),)
	$(BIN)/python -m training.corpus.synthetic "$(OUT)/synthetic" cases_train=80 cases_test=28 seconds=5
endif
	$(BIN)/python -m training.curate "$(DEMO_DATA)" "$(OUT)/corpus" $(if $(DATA),,$(RENDERED))
	$(BIN)/python -m training.teachers prepare efficientnet_lite0 efficientnet_lite2 --output "$(OUT)/teachers"
	$(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		--num_cpu_threads_per_process $(CORES) -m training.pretrain --config training/recipes/demo.yaml \
		data.corpus="$(OUT)/corpus" output_dir="$(OUT)/pretrain" \
		teachers.efficientnet_lite0.repo="$(OUT)/teachers/efficientnet_lite0" \
		teachers.efficientnet_lite2.repo="$(OUT)/teachers/efficientnet_lite2"
	$(BIN)/python -m evaluation.benchmark --model "$(OUT)/pretrain/hub" --tasks found --protocols frozen --probes knn linear \
		--teachers "$(OUT)/teachers/efficientnet_lite0" "$(OUT)/teachers/efficientnet_lite2" \
		--data-root "$(DEMO_DATA)" --corpus "$(OUT)/corpus" --output "$(OUT)/results.jsonl"
	$(BIN)/python -m hub_cards.card "$(OUT)/pretrain" "$(OUT)/results.jsonl" --corpus "$(OUT)/corpus" \
		--teacher "$(OUT)/teachers/efficientnet_lite2" --output "$(OUT)/hub"
	$(BIN)/python -m evaluation.report "$(OUT)/results.jsonl" --output "$(OUT)/report"

test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n 2 $(TEST_ARGS)

# The tests are those of the installed transformers, from its source distribution; they are fetched once.
test-transformers: $(VENV)/.dev-installed
	$(BIN)/python tests/transformers_common/sdist.py
	$(BIN)/python -m pytest tests/transformers_common -n 2 $(TEST_ARGS)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .cache *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
