# Two commands on a fresh machine, each self-sufficient; extra arguments: make verify ARGS="-k older"
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python -m
ARGS ?=

.PHONY: verify test fla lint types docs install clean

verify: $(VENV)/.installed  ## decide every claim on the reference checkpoints and write reports/latest.html
	$(RUN) pytest hypotheses/ -n 4 $(ARGS)

test: $(VENV)/.installed  ## the library's own tests
	@$(MAKE) --no-print-directory fla || echo "FLA's package: NOT INSTALLED: its tests skip themselves"
	$(RUN) pytest tests/ -n 2 --dist worksteal $(ARGS)
	$(RUN) pytest tests/models/test_fla.py -n 0 -q

fla: build/fla/.installed  ## FLA's package for its tests (tests/models/test_fla.py), a gigabyte

# In a folder of its own: in the environment, torch would import Triton everywhere. Their own ranges would bring another torch.
build/fla/.installed: constraints.txt | $(VENV)/.installed
	rm -rf build/fla
	$(RUN) pip install --quiet --disable-pip-version-check --no-deps --target build/fla \
		$$(grep -E '^(fla-core|flash-linear-attention|triton|einops)==' constraints.txt)
	touch $@

lint: $(VENV)/.installed  ## style, and the direction of imports between folders
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(VENV)/.installed
	$(RUN) mypy

docs: $(VENV)/.installed  ## the documentation site, build/site/index.html; a warning is an error
	$(RUN) sphinx --quiet --fresh-env --fail-on-warning --keep-going -c docs/site -d build/doctrees . build/site

install: $(VENV)/.installed

# torch first and by its exact version: a bare or ranged `torch` may bring a CUDA build of several gigabytes.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(RUN) pip install --quiet --disable-pip-version-check -e '.[dev,docs]' -c constraints.txt
	touch $@

clean:  ## forget measured columns, reports and the built site (the environment stays)
	rm -rf .attnres build/site build/doctrees reports/*.html reports/*.json
