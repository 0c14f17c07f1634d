# Everything starts here. Needs Python 3.11 or newer with pip, and make; nothing else.
.DEFAULT_GOAL := help
.PHONY: help backend install demo check test soak floors lint bench constraints audit clean

# The first Python on the path that is new enough; `make install PYTHON=/path/to/python` decides.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

TORCH := $(shell cat .ci/torch_version.txt)
LABEL_STUDIO := 1.23.2
# GPU=1 takes PyTorch as PyPI has it, with CUDA on Linux: a 3 GB download.
BUILD := $(if $(GPU),gpu,cpu)

# Test files that run side by side; each process that needs a Label Studio starts one. They run in
# their order: those against real servers take longest, and must not be left for the end. Half of
# their time is waiting, so four processes keep two cores busy.
JOBS ?= 4

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed-$(BUILD)
BACKEND_STAMP := $(VENV)/.installed-backend-$(BUILD)
LS_VENV := .venv-label-studio
LS_STAMP := $(LS_VENV)/.installed-$(LABEL_STUDIO)
# Errors only: a package mirror that lacks an optional folder is worth a warning to nobody.
PIP_INSTALL := -m pip --disable-pip-version-check install -qq

# Read when torch is loaded: threads that wait by spinning are ten times slower on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE
# The tests start hundreds of Python processes: what one compiled, the next ones read.
unexport PYTHONDONTWRITEBYTECODE

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

backend: $(BACKEND_STAMP)  ## install the backend alone (GPU=1: PyTorch with CUDA; EXTRAS=minilm,postgresql)
	@echo "Now run: . $(VENV)/bin/activate, then active-learn serve"

install: $(STAMP) $(LS_STAMP)  ## install the project and Label Studio in environments of their own
	@$(PY) .ci/check_versions.py $(TORCH) $(LABEL_STUDIO) $(LS_VENV)

demo: install  ## label digits in a real Label Studio, print what the order gains (ARGS=--ner, --keep, --help)
	@$(PY) -m active_learn_backend.demo $(ARGS)

# Each file in one process, so that the tests of a file share what it starts.
PYTEST := $(PY) -m pytest -m "not soak" -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: lint  ## the daily loop: lint, types, and the tests without servers, in 3 minutes
	$(PYTEST) tests/contract tests/unit tests/repository $(ARGS)

test: install lint  ## lint and run all tests but the long ones (ARGS="-k name" chooses)
	$(PYTEST) $(ARGS)

soak: install  ## run the tests that are long by nature
	$(PY) -m pytest -m soak --timeout 3600 $(ARGS)

floors:  ## run unit and contract tests on the lowest versions that pyproject.toml allows
	@sh .ci/lowest.sh "$(PYTHON)" .cache/lowest $(TORCH)

lint: $(STAMP)  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Those that are programs; the others are parts of them. BENCHMARKS=FILE ARGS=... runs one.
BENCHMARKS ?= $(sort $(shell grep -l __main__ tests/benchmarks/*.py))
PEERS := .cache/peers/.installed

bench: install $(PEERS)  ## run the benchmarks (BENCHMARKS=tests/benchmarks/speed.py ARGS=--help)
	@for script in $(BENCHMARKS); do arguments="$(ARGS)"; \
		case $$script$$arguments in *quality.py) arguments=--quick ;; esac; \
		echo "== $$script $$arguments"; $(PY) $$script $$arguments || exit 1; done

constraints: install  ## pin what is installed now, and check it for Python 3.11 to 3.13
	@sh .ci/update_constraints.sh $(abspath $(PY) $(LS_VENV)/bin/python)

AUDIT := .cache/audit/.installed

audit: install $(AUDIT)  ## look for known vulnerabilities of what is installed (needs the internet)
	@sh .ci/audit.sh $(abspath $(PY) .cache/audit/bin/pip-audit)

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) $(LS_VENV) .cache .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The old web packages that label-studio-ml pins lie apart, on no path, for the one test that our
# code runs on them too.
INSTALL := .ci/install.sh .ci/install_torch.sh .ci/torch_version.txt .ci/constraints.txt \
	.ci/upgraded_last.txt .ci/make_venv.sh
$(STAMP): pyproject.toml Makefile $(INSTALL)
	@sh .ci/make_venv.sh "$(PYTHON)" $(VENV)
	@sh .ci/install.sh $(PY) $(BUILD) demo,dev,postgresql --editable
	@rm -rf $(VENV)/flask-1.1.2
	@$(PY) $(PIP_INSTALL) --no-warn-conflicts --no-deps --target $(VENV)/flask-1.1.2 \
		flask==1.1.2 werkzeug==2.0.2 jinja2==3.0.3 itsdangerous==2.0.1
	@rm -f $(VENV)/.installed-* && touch $@

EXTRAS ?= minilm
$(BACKEND_STAMP): pyproject.toml Makefile $(INSTALL)
	@sh .ci/make_venv.sh "$(PYTHON)" $(VENV)
	@sh .ci/install.sh $(PY) $(BUILD) $(EXTRAS) --editable
	@touch $@

$(LS_STAMP): Makefile .ci/label_studio.txt .ci/make_venv.sh
	@sh .ci/make_venv.sh "$(PYTHON)" $(LS_VENV)
	@echo "Installing Label Studio $(LABEL_STUDIO) in $(LS_VENV)"
	@$(LS_VENV)/bin/python $(PIP_INSTALL) -c .ci/label_studio.txt label-studio==$(LABEL_STUDIO)
	@rm -f $(LS_VENV)/.installed-* && touch $@

# Apart: it needs packages that nothing else does.
$(AUDIT): Makefile .ci/make_venv.sh
	@sh .ci/make_venv.sh "$(PYTHON)" .cache/audit
	@echo "Installing pip-audit in .cache/audit"
	@.cache/audit/bin/python $(PIP_INSTALL) pip-audit==2.10.1
	@touch $@

# What speed is compared with. Apart, because the published active-learn bears our package's name.
$(PEERS): Makefile
	@echo "Installing the peers of the benchmarks in .cache/peers"
	@rm -rf .cache/peers
	@$(PY) $(PIP_INSTALL) --target .cache/peers --no-deps \
		active-learn==0.0.0 scikit-activeml==1.0.1 makefun
	@touch $@
