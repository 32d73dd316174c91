# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
# Passed to pip, for example an index of your own.
PIP_FLAGS ?=
# Who judges in `make results`: dev, or final, whose runs are counted.
JUDGE ?= dev
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo install format check test test-all offline bench bench-training bench-files reliability-files reliability-ray scale reliability-training bench-server reliability-server injection openapi docs notebook results compare build clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"tactful needs Python 3.11 or newer, this is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(READY) ## create the environment in .venv

demo: $(READY) ## fetch the models, rewrite sample sentences, train a small rewriter for a minute or two
	$(BIN)/tactful fetch
	$(BIN)/python -m tactful.demo recipes runs/demo

format: $(READY) ## format and fix what can be fixed
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

check: $(READY) ## lint, types, import rules; writes nothing
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY) ## the tests, offline
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: $(READY) ## also the slow tests
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or not slow"

offline: $(READY) ## everything that users do, without a network: nothing may even try one (Linux, root)
	$(BIN)/python .ci/offline.py

bench: $(READY) ## measure speed; prints tables
	$(BIN)/python benchmarks/screener_speed.py
	$(BIN)/python benchmarks/judge_speed.py

bench-training: $(READY) ## measure training against others; ARGS="-o FILE", --quick, --full
	$(BIN)/python benchmarks/training_speed.py $(ARGS)

bench-files: $(READY) ## measure files: throughput, memory; ARGS="-o FILE", --quick
	$(BIN)/python benchmarks/files_speed.py $(ARGS)

reliability-files: $(READY) ## kill runs over files, 50 times in each format; ARGS="-o FILE", --kills 10
	$(BIN)/python benchmarks/files_reliability.py $(ARGS)

reliability-ray: $(READY) ## kill workers of a Ray cluster, and what leads them; ARGS="-o FILE", --kills 1
	$(BIN)/python benchmarks/files_ray.py $(ARGS)

scale: $(READY) ## measure what a billion texts cost; ARGS="-o FILE", --core-hour 0.04
	$(BIN)/python benchmarks/scale.py $(ARGS)

reliability-training: $(READY) ## kill training runs and tear checkpoints; ARGS="-o FILE", --kills 2 --tears 4
	$(BIN)/python benchmarks/training_reliability.py $(ARGS)

bench-server: $(READY) ## measure what the server adds, and batching; ARGS="-o FILE", --quick
	$(BIN)/python benchmarks/server_load.py $(ARGS)

reliability-server: $(READY) ## the server's tests in their full forms: half an hour, on a quiet machine
	TACTFUL_FULL=1 $(BIN)/python -m pytest tests/serving -m "slow or not slow" $(ARGS)

injection: $(READY) ## is text obeyed that looks like an instruction? ARGS="-o FILE", --quick
	$(BIN)/python benchmarks/injection.py $(ARGS)

openapi: $(READY) ## write docs/openapi.json anew, when a change of the API is meant
	$(BIN)/tactful serve --openapi > docs/openapi.json

docs: $(READY) ## the documentation as a site, in build/site; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebook: $(READY) ## execute the notebook anew and keep what it prints
	$(BIN)/python .ci/notebook.py --write docs/notebooks/walkthrough.ipynb

results: $(READY) ## the README's results tables: DATA=folder [JUDGE=final] [SUPERVISED=adapter]
	$(BIN)/python benchmarks/tables.py --judge $(JUDGE) $(if $(SUPERVISED),--supervised "$(SUPERVISED)") \
		--data "$(or $(DATA),$(error say where the test files are: make results DATA=path/to/data))"

# What needs no training stands beside what does.
UNTRAINED := model replace mask-and-refill prompt contrastive best-of-n refine
compare: $(READY) ## methods side by side, hours: DATA=folder WARM=adapter [JOBS=2] [ARGS="--full"]
	mkdir -p runs/silver
	grep '"source": "paradetox"' "$(or $(DATA),$(error say where the corpus is: make compare DATA=path/to/data WARM=path/to/adapter))/toxic.jsonl" > runs/silver/toxic.jsonl
	$(BIN)/tactful prepare -o runs/silver --synthesize recipes/synthesize.yaml --set most=1000
	[ -s runs/surgery/surgery.json ] || $(BIN)/tactful surgery recipes/surgery.yaml -o runs/surgery \
		--set data.dir="$(or $(DATA),$(error say where the corpus is: make compare DATA=path/to/data WARM=path/to/adapter))"
	OMP_NUM_THREADS=1 $(BIN)/tactful compare recipes/compare/*.yaml --jobs $(or $(JOBS),1) -o runs/compare $(ARGS) \
		--data "$(DATA)" $(UNTRAINED:%=--untrained %) --edited runs/surgery \
		--warm "$(or $(WARM),$(error say what to start from: make compare DATA=path/to/data WARM=path/to/adapter))"
	cp runs/compare/compare.json runs/compare/compare.md runs/compare/compare.html docs/results/

build: $(READY) ## make a wheel in dist/
	$(BIN)/python -m build

clean: ## remove what the commands above made, but not the models
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
