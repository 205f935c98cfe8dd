# Every target sets up its own virtual environment when there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
READY := $(VENV)/.ready

EXPERIMENTS := bound_sweep chunk_price chunk_choice detectability sample_complexity no_regret better_than_expert \
	gating zoo exposure_bias distillation scheming kv_cost

.PHONY: growth $(EXPERIMENTS) experiments bench bench-gpu test test-all lint clean

growth: $(READY)
	$(BIN)/python -m experiments.horizon_growth --out=$(OUT)/horizon_growth

experiments: growth $(EXPERIMENTS)

$(EXPERIMENTS): $(READY)
	$(BIN)/python -m experiments.$@ --out=$(OUT)/$@

bench: $(READY)
	$(BIN)/python -m experiments.benchmark --out=$(OUT)/benchmark.json

bench-gpu: $(READY)
	$(BIN)/python -m experiments.bench_gpu --out=$(OUT)/gpu

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Made anew, whatever an earlier attempt has left, and kept only if it is whole.
$(READY): setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
		"Python 3.11 or later is needed, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % v[:2])'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade pip && \
		$(BIN)/python -m pip install --quiet --editable '.[dev]' && touch $@ || { rm -rf $(VENV); exit 1; }

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info
