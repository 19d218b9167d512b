# make demo     a whole site boots in the lab, under Prefect, before your eyes (KEEP=1 leaves it running)
# make test     every check and every test
# make bench    speed, as ratios in one run        make sweep    every crash point there is
# make lock     resolve the requirements anew

PY := .venv/bin/python
SOURCES := flows tasks windlass deployments tests

.DEFAULT_GOAL := help
.PHONY: help .venv demo test check unit lab-tests conformance sweep bench lock ansible clean

help:
	@sed -n 's/^# //p' Makefile

.venv: .venv/.runtime

.venv/.runtime: requirements.txt pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Windlass needs Python 3.11 or later"; exit 1; }
	@test -x $(PY) || { echo "making the environment (about a minute the first time)"; python3 -m venv .venv; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt requirements-oracle.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-oracle.txt
	@touch $@

demo: .venv/.runtime
	@$(PY) -m windlass.cli demo $(if $(KEEP),--keep)

test: check unit lab-tests conformance

check: .venv/.dev
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/pyright
	.venv/bin/lint-imports
	.venv/bin/vulture

unit: .venv/.dev
	$(PY) -m pytest -q tests/unit

lab-tests: .venv/.dev
	$(PY) -m pytest -q tests/lab

conformance: .venv/.dev
	$(PY) -m pytest -q tests/conformance

# Ansible with its Proxmox collection, in an environment of its own: one of the programs that judge the lab.
ansible: .cache/ansible/.ready

.cache/ansible/.ready: requirements-ansible.txt requirements-ansible-collection.txt
	@python3 -m venv .cache/ansible
	@.cache/ansible/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-ansible.txt
	@.cache/ansible/bin/pip download --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-ansible-collection.txt -d .cache/ansible/wheel
	@.cache/ansible/bin/python -c "import glob, zipfile; z = zipfile.ZipFile(glob.glob('.cache/ansible/wheel/*.whl')[0]); z.extractall('.cache/ansible/collections', [n for n in z.namelist() if n.startswith('ansible_collections/community/proxmox/')])"
	@rm -r .cache/ansible/wheel
	@touch $@

sweep: .venv/.dev
	$(PY) -m tests.sweep

bench: .venv/.dev
	$(PY) -m tests.bench

lock:
	uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate requirements.in -o requirements.txt
	uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate requirements-dev.in -c requirements.txt -o requirements-dev.txt

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
