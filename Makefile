# What each target does: make help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Written last by the set-up, so that an interrupted one is done again.
READY := $(VENV)/.ready
# Where a machine forbids to keep compiled modules, each of the many processes of the tests would compile all again.
export PYTHONDONTWRITEBYTECODE :=
QUICK := not e2e and not browser and not data and not models and not cluster and not gpu and not slow and not faults

.PHONY: help run models test faults soak check lint format bench ui up deploy serve screenshots lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: $(READY) ## set everything up, then run the quickstart recipe on the bundled sample
	$(BIN)/finetune classify --recipe quickstart

# Three at a time on two cores: much of what the tests with servers do is waiting. A file's tests share its servers, so
# they stay together; in the order of the folders the long files come first, and the many short ones fill all processes
# at the end.
test: $(READY) ## set everything up, then run all tests that this machine allows; of some: make test ONLY=tests/lib
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ONLY)

# One group: make faults ONLY=tests/faults/test_damage.py. Its figures replace those that were there, and the page is made
# from them, also where something was lost.
faults: $(READY) ## try all faults at full scale, for hours, and write the figures of docs/reliability.md
	FINETUNE_FAULTS=full $(BIN)/python -m pytest -m faults --timeout 21600 $(or $(ONLY),tests/faults); \
		status=$$?; $(BIN)/python -m docs.generate && exit $$status

soak: $(READY) ## an hour of `up` with a flow each minute, its processes killed at random
	$(BIN)/python -m tests.faults.soak; status=$$?; $(BIN)/python -m docs.generate && exit $$status

# The tests marked `models` find it there; 90 MB.
models: $(READY) ## fetch a small pretrained encoder for the tests that need one
	$(BIN)/python tools/models/fetch.py .models

# Without servers, real data and browsers: for while you work.
check: lint ## style, types and the quick tests, which need no server, in under two minutes on two cores
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -q -m "$(QUICK)"

lint: $(READY) ## check style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## write code as ruff does, sort imports
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

# The figures of docs/performance.md; some minutes on two cores, which should have nothing else to do.
bench: $(READY) ## measure what docs/performance.md says
	$(BIN)/python -m benchmarks

ui: $(READY) ## both servers' pages over the local files
	$(BIN)/finetune ui

# Both servers and a worker with the deployments of prefect.yaml (docs/operations.md); DATABASE=postgresql://... in the
# environment puts both servers on PostgreSQL. Other ports: make up PREFECT_PORT=4201 MLFLOW_PORT=5001
up: $(READY) ## both servers, a worker and the deployments of prefect.yaml
	$(BIN)/finetune up $(if $(PREFECT_PORT),--prefect-port $(PREFECT_PORT)) \
		$(if $(MLFLOW_PORT),--mlflow-port $(MLFLOW_PORT))

deploy: $(READY) ## register the deployments with a server that runs already
	$(BIN)/finetune deploy

# The champion over HTTP (docs/serving.md); which one and where: make serve MODEL=quickstart PORT=5050
serve: $(READY) ## the champion over HTTP
	$(BIN)/finetune serve $(if $(MODEL),--name $(MODEL)) $(if $(PORT),--port $(PORT))

# The README's pictures, from real runs in a real browser; some minutes.
screenshots: $(READY) ## the README's pictures
	$(BIN)/python docs/screenshots.py

# Keeps what requirements.lock pins already and adds what pyproject.toml asks for newly; to raise one package,
# change its line (or delete it) first. "+cpu" is the build of the machine that locked, not a requirement, and the
# extra `dev` names the project itself for its other extras.
lock: $(READY) ## renew requirements.lock
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --allow-unsafe --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements.lock pyproject.toml
	sed -i -e 's/+cpu$$//' -e '/^finetune-flows @/d' requirements.lock

clean: ## remove what was set up and what runs have left
	rm -rf $(VENV) .finetune .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info

# Build isolation is off so that the build uses the locked setuptools and asks the index for nothing more. Nothing is
# compiled in advance: most modules are never imported, and the others are compiled when they are.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("finetune-flows needs Python 3.11 or later; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --no-build-isolation --editable .
	touch $(READY)
