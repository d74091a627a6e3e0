# Each target sets up its own virtual environment on a fresh machine; it is renewed when the dependencies change.
PYTHON ?= python3
PYTHON_VERSION ?= 3.11
ROUNDS ?= 50
SCALE ?= 1
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore .venv/bin/python -m pip --quiet
READY := .venv/.ready

.PHONY: demo test slow-test slurm-test peers-test oldest newest wheel-test torture soak lint platforms docs pages

demo: $(READY)
	.venv/bin/lls-decode demo --out demo_out

# A file of tests stays in one process: what its tests share is made once. Processes of single-threaded tests, one a core.
test: $(READY)
	.venv/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

# What takes minutes: runs whose processes are killed twenty times, workers that run out of memory.
slow-test: $(READY)
	.venv/bin/python -m pytest -q -m slow

# On a real SLURM of virtual nodes, which is installed (apt) and started when this is root; skipped with a reason elsewhere.
slurm-test: $(READY)
	.venv/bin/python -m pytest -q -m slurm tests/cluster/slurm

# Files of ours opened in other people's programs, each in an environment under build/peers (from PyPI, some 4 GB in
# all); skipped with a reason where they cannot be installed.
peers-test: $(READY)
	.venv/bin/python -m pytest -q -m peers tests/peers

# The default tests with the lowest versions that pyproject.toml declares. What packages of that age say of each other's
# deprecations is not an error here. PYTHON_VERSION is 3.11 or 3.12; no wheels of the lowest versions exist for newer ones.
oldest: build/uv/bin/uv
	build/uv/bin/uv venv --quiet --clear --python $(PYTHON_VERSION) build/oldest
	build/uv/bin/uv pip install --quiet --python build/oldest/bin/python --resolution lowest-direct -e '.[dev]'
	build/oldest/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile -W ignore::DeprecationWarning

# The default tests with the newest versions of everything. PYTHON_VERSION is 3.11 to 3.14, as far as uv finds or fetches it.
newest: build/uv/bin/uv
	build/uv/bin/uv venv --quiet --clear --python $(PYTHON_VERSION) build/newest
	build/uv/bin/uv pip install --quiet --python build/newest/bin/python --upgrade -e '.[dev]'
	build/newest/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

build/uv/bin/uv:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet uv

# The first minute: the wheel without extras in an environment of its own, and its demo.
wheel-test:
	rm -rf build/lib build/wheel
	$(PYTHON) -m venv build/wheel/env
	build/wheel/env/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/env/bin/python -m pip install --quiet -c constraints.txt torch
	build/wheel/env/bin/python -m pip install --quiet -c constraints.txt build/wheel/*.whl
	build/wheel/env/bin/python -m pip check
	cd build/wheel && env/bin/lls-decode demo && test -s demo_out/results/localizations.parquet && test -s demo_out/score.json

# Runs that are killed, stopped, damaged and starved at random; each must end with the table of an undisturbed run.
torture: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.torture --rounds $(ROUNDS)

# A long run, stopped and resumed once: its speed, its memory and its table.
soak: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/soak.py --scale $(SCALE)

# mypy sees the packages as they are installed: pipelines/ and cluster/ inside lls_decode/.
lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	rm -rf build/typed
	mkdir -p build/typed/lls_decode
	ln -s $(CURDIR)/lls_decode/* $(CURDIR)/pipelines $(CURDIR)/cluster build/typed/lls_decode/
	cd build/typed && ../../.venv/bin/mypy --strict --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p lls_decode

# What can be known here of Windows and macOS: types against what their Python has, and the tests of files, locks and runs
# without what Windows lacks. The whole of the default tests: .venv/bin/python -m pytest -q --without-posix
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

# Warnings are errors. The tutorial is a notebook; it is executed, and kept until its text changes.
docs: .venv/.docs
	.venv/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# torch comes first and alone: it is the large one, and a mirror may offer a smaller build of the pinned version.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

.venv/.docs: $(READY)
	$(PIP) install -c constraints.txt -e '.[docs]'
	touch $@
