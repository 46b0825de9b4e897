# make run | test | lint | bench | ui | up | deploy | serve | lock | clean     (docs: README.md)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Written last by the set-up, so that an interrupted one is done again.
READY := $(VENV)/.ready

.PHONY: run test lint bench ui up deploy serve screenshots lock clean

run: $(READY)
	$(BIN)/python -m flows.classify --recipe quickstart

# Two at a time: much of what the tests with servers do is waiting. A file's tests share its servers, so they stay
# together; in the order of the folders the long files come first, and the many short ones fill both processes at the end.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The figures of docs/performance.md; some minutes on two cores, which should have nothing else to do.
bench: $(READY)
	$(BIN)/python -m benchmarks

ui: $(READY)
	$(BIN)/python -m flows.ui

# Both servers and a worker with the deployments of prefect.yaml (docs/operations.md); DATABASE=postgresql://... in the
# environment puts both servers on PostgreSQL. Other ports: make up PREFECT_PORT=4201 MLFLOW_PORT=5001
up: $(READY)
	$(BIN)/python -m flows.up $(if $(PREFECT_PORT),--prefect-port $(PREFECT_PORT)) \
		$(if $(MLFLOW_PORT),--mlflow-port $(MLFLOW_PORT))

deploy: $(READY)
	$(BIN)/python -m flows.deploy

# The champion over HTTP (docs/serving.md); which one and where: make serve MODEL=quickstart PORT=5050
serve: $(READY)
	$(BIN)/python -m flows.serve $(if $(MODEL),--name $(MODEL)) $(if $(PORT),--port $(PORT))

# The README's pictures, from real runs in a real browser; some minutes.
screenshots: $(READY)
	$(BIN)/python docs/screenshots.py

# Keeps what requirements.lock pins already and adds what pyproject.toml asks for newly; to raise one package,
# change its line (or delete it) first. "+cpu" is the build of the machine that locked, not a requirement.
lock: $(READY)
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --allow-unsafe --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock

clean:
	rm -rf $(VENV) .finetune .pytest_cache .mypy_cache .ruff_cache build *.egg-info

# Build isolation is off so that the build uses the locked setuptools and asks the index for nothing more.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("finetune-flows needs Python 3.11 or later; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)
