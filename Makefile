# Everything runs in .venv, made from pinned versions on first use. PYTHON may name any Python 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-env clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    || { echo "robustly needs Python 3.11 to 3.13; say make PYTHON=python3.12 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

DEMO := zoo:fashion --threat linf:0.1 --limit 300
demo: $(READY)  ## audit the three carried models; each run ends by saying where its report is
	$(BIN)/robustly audit zoo:fashion_plain $(DEMO) --eps 0,0.01,0.02,0.05 --out runs/plain
	$(BIN)/robustly audit zoo:fashion_adversarial $(DEMO) --eps 0,0.05,0.15 --out runs/adversarial
	$(BIN)/robustly audit zoo:fashion_certified $(DEMO) --eps 0,0.05,0.15 --out runs/certified
	$(BIN)/robustly compare runs/plain runs/certified
	@echo && echo 'reports: runs/plain/report.html runs/adversarial/report.html runs/certified/report.html'

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -n 2

check: $(READY)  ## formatting, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_layers.py

format: $(READY)  ## rewrite the code as check wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## run the benchmarks (long; the peers need make bench-env first)
	-$(BIN)/python -m bench pgd --json bench/results/pgd-cpu.json
	for norm in linf l2 l1 l0; do \
	    $(BIN)/python -m bench minnorm --norm $$norm --json bench/results/minnorm-$$norm.json || true; done
	-$(BIN)/python -m bench autoattack --json bench/results/autoattack-cpu.json
	-$(BIN)/python -m bench deep --json bench/results/deep-cpu.json
	for name in fashion_plain fashion_adversarial sdp_mnist_adv; do \
	    $(BIN)/python -m bench blackbox --subjects $$name --json bench/results/blackbox-$$name.json || true; done
	for name in hybrids stateful endpoint bounds brackets smoothing; do \
	    $(BIN)/python -m bench $$name --json bench/results/$$name.json || true; done
	-$(BIN)/python -m bench certify --again --json bench/results/certify.json
	$(BIN)/python -m docs.benchmarks

bench-env: $(READY)  ## a separate environment with the peers, for parity tests and benchmarks
	$(BIN)/python -m bench.peers install

clean:  ## remove the environments and caches
	rm -rf $(VENV) .bench-env .pytest_cache .ruff_cache .hypothesis build
