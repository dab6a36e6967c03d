# make run    set up, then the main job: one ModelDeployment served, answering for a real photo
# make test   set up, then every test that this machine can run
# make fuzz   set up, then ten minutes of each fuzzer of the predictor's protocols; MOORAGE_FUZZ_S=60 is less
# make bench-protocols   set up, then our predictor beside six other servers, half an hour; ARGS=--quick is less
# make bench-predictor   set up, then our predictor beside the same servers with images, half an hour; ARGS=--quick is less
# make bench-soak        set up, then our predictor at half load for half an hour; MINUTES=5 is less
# make bench-overload    set up, then our predictor with five times as many images as it can do, a minute
# make bench-many-models set up, then what a second, third and fourth model in one process cost in memory, a minute
# make bench-features    set up, then what features and attention cost beside plain answers, minutes
# make bench-decode      set up, then our way from a JPEG to the network's input beside plain Pillow's, a minute
# make bench-operator    set up, then the controller with 1,000 and 5,000 models; ARGS="--many 100 --most 0 --idle 20" is less
# make setup  .venv with everything; nothing outside this folder but the caches of pip, uv and go

PYTHON ?= python3
PORTS  ?=
MOORAGE_FUZZ_S ?= 600
MINUTES ?= 30
VENV   := .venv
BIN    := $(VENV)/bin
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
export PYTHONUNBUFFERED = 1
# Without cached bytecode every start of the predictor compiles torch anew, which takes it from 8 s to 20.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test unit fuzz lint generate lock control-plane bench-protocols bench-predictor bench-soak bench-overload bench-decode bench-many-models bench-features bench-operator clean

help:
	@sed -n 's/^# //p' Makefile

setup: $(VENV)/.ready

# uv need not be there: pip puts it into the new environment. The lock names every version and its hash.
$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "expected Python 3.11 to 3.13, found $$($(PYTHON) --version 2>&1): set PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==$(UV_VERSION)'
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	touch $@

run: setup
	$(BIN)/moor up manifests/samples/cat.yaml $(PORTS)

test: setup
	tools/debian_packages.sh
	$(BIN)/python -m pytest

unit: setup
	$(BIN)/python -m pytest tests/unit tests/golden

fuzz: setup
	MOORAGE_FUZZ_S=$(MOORAGE_FUZZ_S) $(BIN)/python -m pytest tests/fuzz

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/generate.py --check

# The generated files: crds/, manifests/install.yaml, docs/reference/.
generate: setup
	$(BIN)/python tools/generate.py

# The exact versions of everything but Ultralytics, which is licensed under the AGPL, for every supported Python, without the
# address of any index.
EXTRAS := $(shell sed -n '/^\[project.optional-dependencies\]/,/^\[project.scripts\]/s/^\([a-z-]*\) = .*/--extra \1/p' pyproject.toml)
lock:
	$(BIN)/uv pip compile pyproject.toml $(subst --extra ultralytics,,$(EXTRAS)) --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command 'make lock' --quiet --output-file requirements.lock

# etcd, kube-apiserver, kube-controller-manager and kubectl for the tests; minutes the first time, then nothing.
control-plane: setup
	$(BIN)/python tools/build_control_plane.py

# Our predictor beside the other Python model servers, half an hour; ARGS="--help" lists what can be chosen.
bench-protocols: setup
	$(BIN)/python -m bench.protocols $(ARGS)

# Our predictor beside the others with real JPEGs, half an hour; ARGS="--help" lists what can be chosen.
bench-predictor: setup
	$(BIN)/python -m bench.predictor $(ARGS)

# Does memory grow under half load? ARGS="--only ours-auto --models resnet18" chooses the engine and the network.
bench-soak: setup
	$(BIN)/python -m bench.predictor --soak $(MINUTES) $(ARGS)

# Five times more than the server can do: who is served in time, and who is refused at once?
bench-overload: setup
	$(BIN)/python -m bench.predictor --overload $(ARGS)

# Our way from a JPEG to the network's input beside plain Pillow's, in one thread, a minute.
bench-decode: setup
	$(BIN)/python -m bench.decode

# The controller with very many models; ARGS="--help" lists what can be chosen.
bench-operator: setup
	$(BIN)/python -m bench.controller $(ARGS)

# What a second, third and fourth model in one process costs in memory.
bench-many-models: setup
	$(BIN)/python -m bench.many_models

# What features and attention cost an image classifier.
bench-features: setup
	$(BIN)/python -m bench.features

clean:
	rm -rf $(VENV) build dist
