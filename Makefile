# make demo and make test set everything up by themselves: they create .venv when it is missing or older than
# pyproject.toml (with uv if it is there, else with venv and pip) and re-use it otherwise.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-dali test-engines test-runtimes lint report shelf setup clean clean-store

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP)  ## run the embedded demo (glyphs -> digits), print its table, draw its report
	$(BIN)/python -m dataprune --multirun +experiment=demo

test: $(STAMP)  ## run the tests
	$(BIN)/python -m pytest

DALI ?= dali
test-dali: $(STAMP)  ## run the tests of loader=dali with an extra of it (DALI=dali-cuda110, say)
	@if command -v uv > /dev/null; then uv pip install --quiet --python $(BIN)/python -e '.[$(DALI)]'; \
	else $(BIN)/python -m pip install --quiet -e '.[$(DALI)]'; fi
	$(BIN)/python -c 'import nvidia.dali; print("DALI", nvidia.dali.__version__)'
	$(BIN)/python -m pytest tests/data/test_dali.py tests/test_dali_jobs.py

DEEPSPARSE_PYTHON ?=
test-runtimes: $(STAMP)  ## run the tests of signals.runtime with ONNX Runtime and OpenVINO (DEEPSPARSE_PYTHON=DIR/bin/python)
	@if command -v uv > /dev/null; then uv pip install --quiet --python $(BIN)/python -e '.[onnxruntime,openvino]'; \
	else $(BIN)/python -m pip install --quiet -e '.[onnxruntime,openvino]'; fi
	$(BIN)/python -c 'import onnxruntime, openvino; print(onnxruntime.__version__, openvino.__version__)'
	DEEPSPARSE_PYTHON='$(DEEPSPARSE_PYTHON)' $(BIN)/python -m pytest tests/runtimes
test-engines: $(STAMP)  ## run sweeps and pools on Ray, Dask and Slurm (slurm-wlm and munge, as root), after installing their extras
	@if command -v uv > /dev/null; then uv pip install --quiet --python $(BIN)/python -e '.[ray-tasks,dask,slurm]'; \
	else $(BIN)/python -m pip install --quiet -e '.[ray-tasks,dask,slurm]'; fi
	$(BIN)/python -m pytest tests/pools/test_engines_of_pools.py tests/test_engines.py

lint: $(STAMP)  ## format check, lint and type check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

report: $(STAMP)  ## draw outputs/report/report.html from all rows in ./store
	$(BIN)/python -m dataprune.report

shelf: $(STAMP)  ## list what the store holds
	$(BIN)/python -m dataprune.store list

setup: $(STAMP)  ## only create .venv

clean:  ## delete .venv and outputs; the store stays
	rm -rf .venv outputs

clean-store:  ## delete ./store with every trained model in it, after saying what that is
	@if [ -d store ]; then \
	  echo "deleting ./store: $$(find store -mindepth 3 -maxdepth 3 -name manifest.json | wc -l) results," \
	    "$$(find store/rows -name '*.json' 2> /dev/null | wc -l) rows, $$(du -sh store | cut -f1)"; \
	  rm -rf store; \
	else echo "there is no ./store here"; fi

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@if command -v uv > /dev/null; then \
	  echo "creating .venv with uv (about 5 GB, a minute or two)"; \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	  echo "creating .venv with venv and pip (about 5 GB, a few minutes)"; \
	  $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --upgrade pip && \
	  $(BIN)/python -m pip install --quiet -e '.[dev]'; \
	fi
	@touch $(STAMP)
