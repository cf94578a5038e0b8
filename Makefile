# `make run` and `make test` set everything up themselves; only Python >= 3.11, pip, git and make are needed.

# The first Python that is new enough, unless PYTHON is given.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
  $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) python3)
MODEL  ?= smollm2
SMS    ?= 132
PROMPT ?= Once upon a time,
OUT    ?= out/$(notdir $(MODEL))
export PROMPT

BIN   := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup run test lint format docs models clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP)  ## make .venv and install amk into it (every other target does this too)

# torch first and by itself, so that a CPU build is taken where pip is configured to offer one.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than Python 3.11; set PYTHON=python3.11 or newer" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install torch==2.13.0
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $(STAMP)

run: $(STAMP)  ## fetch MODEL, compile it, prove the schedule, generate 32 tokens on the CPU
	$(BIN)/amk compile $(MODEL) -o $(OUT) --num-sms $(SMS) --dump-ir
	$(BIN)/amk verify $(OUT)/30-vm.mlir
	$(BIN)/amk generate $(MODEL) --prompt "$$PROMPT" --max-tokens 32 --num-sms $(SMS) --device cpu --verify
	@echo
	@echo "IR of the four levels  $(OUT)/00-model.mlir 10-task.mlir 20-sched.mlir 30-vm.mlir"
	@echo "certificate            $(OUT)/certificate.json"
	@echo "report                 $(OUT)/report.md"

test: $(STAMP) lint  ## ruff, basedpyright, lit and pytest
	$(BIN)/lit -q -j2 tests/filecheck
	$(BIN)/pytest -n 2

lint: $(STAMP)  ## ruff and basedpyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## regenerate docs/generated from the docstrings, and the tables of what was measured
	$(BIN)/python -m amk.tools.docs docs/generated
	$(BIN)/python benchmarks/table.py > benchmarks/results/README.md

models: $(STAMP)  ## try every architecture of transformers, and rewrite docs/MODELS.md
	$(BIN)/python -m amk.tools.models docs/MODELS.md

clean:  ## remove the environment and everything built
	rm -rf .venv out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
