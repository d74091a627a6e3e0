# On a new machine, targets create the virtual environment that they need, and update it when dependencies change.
PYTHON ?= python3
PYTHON_VERSION ?= 3.11
ROUNDS ?= 50
SCALE ?= 1
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore .venv/bin/python -m pip --quiet
READY := .venv/.ready

.PHONY: demo test slow-test slurm-test peers-test oldest newest wheel-test torture soak lint platforms docs pages

demo: $(READY)
	.venv/bin/lls-decode demo --out demo_out

# Each test file runs in one process, so that its tests share fixtures. Tests are single-threaded: one process per core.
test: $(READY)
	.venv/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

# Tests that take minutes: runs whose processes are killed twenty times, workers that run out of memory.
slow-test: $(READY)
	.venv/bin/python -m pytest -q -m slow

# Tests on a real SLURM with virtual nodes. As root, SLURM is installed (apt) and started; otherwise the tests are skipped.
slurm-test: $(READY)
	.venv/bin/python -m pytest -q -m slurm tests/cluster/slurm

# Tests that open files of lls-decode in other programs, each in its own environment under build/peers (from PyPI, about
# 4 GB in total); skipped if they cannot be installed.
peers-test: $(READY)
	.venv/bin/python -m pytest -q -m peers tests/peers

# Default tests with the lowest versions that pyproject.toml declares. Deprecation warnings of these packages are not
# errors. PYTHON_VERSION is 3.11 or 3.12; for newer versions there are no wheels of the lowest package versions.
oldest: build/uv/bin/uv
	build/uv/bin/uv venv --quiet --clear --python $(PYTHON_VERSION) build/oldest
	build/uv/bin/uv pip install --quiet --python build/oldest/bin/python --resolution lowest-direct -e '.[dev]'
	build/oldest/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile -W ignore::DeprecationWarning

# Default tests with the newest versions of all packages. PYTHON_VERSION is 3.11 to 3.14, if uv finds or downloads it.
newest: build/uv/bin/uv
	build/uv/bin/uv venv --quiet --clear --python $(PYTHON_VERSION) build/newest
	build/uv/bin/uv pip install --quiet --python build/newest/bin/python --upgrade -e '.[dev]'
	build/newest/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

build/uv/bin/uv:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet uv

# First use of the package: install the wheel without extras in a new environment, and run the demo.
wheel-test:
	rm -rf build/lib build/wheel
	$(PYTHON) -m venv build/wheel/env
	build/wheel/env/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/env/bin/python -m pip install --quiet -c constraints.txt torch
	build/wheel/env/bin/python -m pip install --quiet -c constraints.txt build/wheel/*.whl
	build/wheel/env/bin/python -m pip check
	cd build/wheel && env/bin/lls-decode demo && test -s demo_out/results/localizations.parquet && test -s demo_out/score.json

# Runs that are killed, stopped, damaged or starved at random; each must give the same table as an undisturbed run.
torture: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.torture --rounds $(ROUNDS)

# Speed, memory and table of a long run that is stopped and resumed once.
soak: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/soak.py --scale $(SCALE)

# mypy checks the packages as installed, with pipelines/ and cluster/ inside lls_decode/.
lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	rm -rf build/typed
	mkdir -p build/typed/lls_decode
	ln -s $(CURDIR)/lls_decode/* $(CURDIR)/pipelines $(CURDIR)/cluster build/typed/lls_decode/
	cd build/typed && ../../.venv/bin/mypy --strict --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p lls_decode

# Checks for Windows and macOS that run on Linux: types for these platforms, and tests of files, locks and runs without the
# functions that Windows lacks. To run all default tests this way: .venv/bin/python -m pytest -q --without-posix
platforms: lint
	for platform in win32 darwin; do \
	  (cd build/typed && ../../.venv/bin/mypy --strict --config-file ../../pyproject.toml --platform $$platform \
	    --cache-dir ../../.mypy_cache/$$platform -p lls_decode) || exit 1; \
	done
	.venv/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile --without-posix tests/test_portability.py \
	  tests/table tests/movies/test_interrupted_conversion.py tests/pipelines/journal tests/pipelines/test_doctor.py \
	  tests/pipelines/running/test_damage.py tests/pipelines/running/test_run.py

# The parts of the documentation pages that a script writes: figures of the benchmarks, configuration keys, table columns.
# Tests fail when they are stale.
pages: $(READY)
	.venv/bin/python docs/figures.py
	.venv/bin/python docs/reference_pages.py

# Documentation, with warnings as errors. The tutorial is a notebook; it is executed only when its text has changed.
docs: .venv/.docs
	.venv/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# Install torch first and separately: it is large, and a mirror may offer a smaller build of the pinned version.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

.venv/.docs: $(READY)
	$(PIP) install -c constraints.txt -e '.[docs]'
	touch $@
