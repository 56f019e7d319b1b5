# make train    set up .venv on the first call, then train Fashion-MNIST; ARGS="trainer.epochs=3" is passed on
# make test     set up likewise, then run the tests
# make bench    measure it against a loop written by hand; ARGS="W1 W4", PEERS=1 for Lightning too (docs/performance.md)
# make lint, make types, make faults N=100, make projects, make test-roots, make clean

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv/bin/python

.PHONY: train test test-roots bench lint types faults projects docs manifest clean
train: .venv/ready
	$(VENV) train.py -c configs/fashion_mnist.yaml $(ARGS)

test: .venv/ready
	$(VENV) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

# The same in a fresh Debian 13, with its Python 3.13; ROOTS=forky for another. Needs root and debootstrap.
test-roots:
	$(PYTHON) tests/campaigns/roots.py $(ROOTS)

bench: .venv/ready
	$(VENV) -m benchmarks $(if $(PEERS),--peers) $(ARGS)

lint: .venv/ready
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .

types: .venv/ready
	$(VENV) -m mypy --strict base utils data_loader model trainer logger

# Kills, signals, damage, full disks on real processes: a table of what held (docs/faults.md).
faults: .venv/ready
	$(VENV) tests/campaigns/faults.py $(or $(N),20)

# Projects in pytorch-template's style, killed N times each and resumed: which ended bit-equal.
projects: .venv/ready
	$(VENV) -m tests.campaigns.template_projects $(or $(N),5)

# configs/schema.json, docs/config.md and docs/faults_of_configs.md, written anew; a test fails when one is stale.
docs: .venv/ready
	$(VENV) -m tools.write_reference

# The framework's own files; every other file in these folders is a user's, whose names may shadow these.
manifest:
	git ls-files -co --exclude-standard 'train.py' 'test.py' '*.py' | \
	grep -E '^((base|utils|data_loader|model|trainer|logger)/.*|train|test)\.py$$' | LC_ALL=C sort >base/manifest.txt

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last and removed first: an installation that was cut short is not taken for done and starts anew.
# uv is much the faster one (byte code is compiled as pip does it: the first start is no slower than the next); pip knows the mirrors and certificates of a pip.conf, which uv does not read.
.venv/ready: requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; name it: make PYTHON=/path/to/python"; exit 1; }
	@test -f $@ || { echo "Setting up .venv with $(PYTHON): once, a few minutes"; $(PYTHON) -m venv --clear .venv; }
	@rm -f $@
	@$(VENV) -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.lock) && \
	$(VENV) -m uv pip install --compile-bytecode --python $(VENV) -r requirements.lock || \
	{ echo "uv could not install; trying pip"; $(VENV) -m pip install -r requirements.lock; }
	@touch $@
