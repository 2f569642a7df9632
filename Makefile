# Everything that is needed is set up on the way: a fresh machine wants Python 3.11 or newer and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test lint format bench clean
help:        ## what there is to make
	@grep -E '^[a-z]+: .*##|^[a-z]+: +##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(READY) ## convert a small real GGUF, generate text from the result, show what was kept
	$(BIN)/python examples/demo.py

test: $(READY) ## all tests
	$(BIN)/pytest -n auto

lint: $(READY) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## conversion against a file copy
	$(BIN)/python benchmarks/convert.py

clean:       ## take out what was set up
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	# A judge that is no dependency of ours: its own ones are a GPU's.
	$(BIN)/python -m pip install --quiet --no-deps 'tensorrt-rtx-cu13-libs~=1.7.1' 'tensorrt-rtx-cu13-bindings~=1.7.1'
	$(BIN)/python -m compileall -q w2e_bridge adapters
	touch $(READY)
