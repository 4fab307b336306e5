# Every target prepares what it needs: the first call makes .venv from the pinned, hashed versions.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=
# Half of the time the tests wait for what they have started.
JOBS ?= $(shell expr 2 \* $$(nproc))
ONLY ?=
# No index address in any committed file, one version for all supported Pythons.
PIN_FLAGS = --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header --no-annotate

.PHONY: help setup drive test test-next check format bench bench-quick conformance faults sbom pins clean

help:  ## What can be typed here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready  ## Make .venv with the pinned dependencies and bordnetz itself (done by all others)

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

drive: $(VENV)/.ready  ## A vehicle, the telemetry module and a hub on this machine; ARGS='--help' tells more
	$(BIN)/bordnetz drive $(ARGS)

test: $(VENV)/.ready  ## All tests, two processes a core; JOBS=0 runs them in one
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# What speaks to the hub, with the next release of the SDK.
NEXT = tests/edge/test_link.py tests/edge/test_link_faults.py tests/edge/test_feed.py \
	tests/edge/test_volatile.py tests/edge/test_module.py tests/laptop/test_hub_sdk.py

test-next: build/next/.ready  ## The hub link with the next release of the SDK (requirements/next.in)
	build/next/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(NEXT) $(ARGS)

build/next/.ready: requirements/next.txt pyproject.toml
	$(PYTHON) -m venv build/next
	build/next/bin/python -m pip install --quiet --require-hashes -r requirements/next.txt
	build/next/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

check: $(VENV)/.ready  ## Format, lint, types, import rules; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready build/peers/.ready  ## Side by side with peers in one run; writes build/bench.json
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/.ready  ## The ratios that a change must not spoil, in a minute
	$(BIN)/python -m bench --only quick --output build/bench-quick.json

# The peers as their makers publish them, apart from what bordnetz needs.
build/peers/.ready: requirements/peers.txt
	$(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip install --quiet --require-hashes -r requirements/peers.txt
	touch $@

conformance: $(VENV)/.ready  ## Every frame of every DBC file beside cantools; writes build/conformance.json
	PYTHONPATH=tests:tests/can $(BIN)/python -m conformance $(ARGS)

faults: $(VENV)/.ready  ## Power cuts, kills, failing disks; ONLY=name[,name]; writes build/faults.json
	PYTHONPATH=tests:tests/telemetry $(BIN)/python -m faults $(if $(ONLY),--only $(ONLY)) $(ARGS)

format: $(VENV)/.ready  ## Format the code and mend what the linter can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

sbom: $(VENV)/.ready  ## Software bill of materials of the image (CycloneDX), build/sbom.json
	mkdir -p build
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json requirements/run.txt

pins:  ## Compile requirements/*.txt anew from pyproject.toml (needs uv)
	uv pip compile $(PIN_FLAGS) pyproject.toml -o requirements/run.txt
	uv pip compile $(PIN_FLAGS) --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	uv pip compile $(PIN_FLAGS) requirements/peers.in -o requirements/peers.txt
	uv pip compile $(PIN_FLAGS) --extra laptop pyproject.toml requirements/next.in -o requirements/next.txt

clean:  ## Remove what the other targets made
	rm -rf .venv* build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
