# What a person does all day. Each target does all its own set-up.
#   make demo                   a real clip through the whole system; ARGS='--seconds 10' passes switches
#   make test                   all tests; ARGS='test/masks -k overlay' chooses
#   make bench                  the sparse engine beside dense ones; installs OpenVINO and ONNX Runtime for that
#   make kernels                cubins of the CUDA kernels for seven architectures, held to their budget; needs no GPU
#   make test-kernels           the CUDA kernels on the CPU, plain and under sanitizers
#   make mutate-kernels         faults planted in them, and what catches each
#   make build lint clean
# PYTHON chooses the interpreter (3.10 to 3.12), VENV the folder of the virtual environment, TORCH_ARGS another torch
# build (arguments of `pip install`, for instance its own index or version), EXTRAS more files of requirements/ to install
# (cuda, train). A ROS 2 that is sourced is used as it is.

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV ?= .venv
TORCH_ARGS ?=
EXTRAS ?=
ARGS ?=
CLIP := .cache/clips/bikes.mp4
BUILT := install/.built

.PHONY: build demo test bench kernels test-kernels mutate-kernels lint clean FORCE
.DELETE_ON_ERROR:

build: $(BUILT)

demo: $(BUILT) $(CLIP)
	$(VENV)/bin/dedelayed demo --input $(CLIP) $(ARGS)

# Tests of processes that talk to each other have the machine to themselves; arithmetic shares it.
LIVE := cli cloud link nodes system
test: $(BUILT) $(CLIP)
ifdef ARGS
	$(VENV)/bin/python -m pytest $(ARGS)
else
	$(VENV)/bin/python -m pytest -n auto --dist worksteal $(LIVE:%=--ignore=test/%) && arithmetic=0 || arithmetic=$$?; \
	$(VENV)/bin/python -m pytest $(LIVE:%=test/%) && exit $$arithmetic
endif

bench: $(BUILT) $(CLIP) $(VENV)/.bench
	$(VENV)/bin/dedelayed bench sparse --torch-compile --clip $(CLIP) --json out/bench/sparse.json $(ARGS)

$(VENV)/.bench: requirements/bench.txt requirements/constraints.txt | $(VENV)/.environment
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c $(VENV)/constraints.txt -r $<
	@touch $@

kernels: $(BUILT)
	$(VENV)/bin/python scripts/cubins.py $(ARGS)

test-kernels: $(BUILT)
	$(VENV)/bin/python scripts/test_kernels.py $(ARGS)

mutate-kernels: $(BUILT)
	$(VENV)/bin/python scripts/mutate_kernels.py $(ARGS)

lint: $(VENV)/.environment
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy dedelayed_ros scripts

clean:
	rm -rf build install log out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find dedelayed_ros test scripts -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.environment: $(wildcard requirements/*.txt) scripts/environment.py
	$(PYTHON) scripts/environment.py $(VENV) --torch-args='$(TORCH_ARGS)' $(EXTRAS:%=--extra %)

# colcon links each installed file, so an edit needs no build; a file that comes or goes does. This list notices that.
build/sources: FORCE
	@mkdir -p build
	@find dedelayed_ros launch config -type f ! -name '*.pyc' | LC_ALL=C sort > $@.now
	@cmp -s $@.now $@ && rm $@.now || mv $@.now $@

$(BUILT): build/sources $(VENV)/.environment CMakeLists.txt package.xml scripts/workspace.py scripts/site_hook.py \
		$(wildcard msg/*.msg scripts/*.in scripts/nodes/*) $(shell find kernels/cpu -type f 2>/dev/null)
	$(VENV)/bin/python scripts/workspace.py $(VENV)
	@touch $@

$(CLIP): scripts/fetch_clip.py
	$(PYTHON) scripts/fetch_clip.py $@
