# `make` lists what there is. Everything a target needs, it installs into .venv/ or into a cache outside the checkout.
PYTHON ?= python3
BIN := .venv/bin
# A kube context of your own instead of the local cluster: make demo CONTEXT=kind-kind. README.md has what it needs.
export SCHEMAHOLD_CONTEXT := $(or $(CONTEXT),$(SCHEMAHOLD_CONTEXT))
# The demo's own, which it makes anew: make demo NAMESPACE=x. Only when asked for: a shell may have a NAMESPACE for other things.
DEMO_NAMESPACE := $(if $(findstring command,$(origin NAMESPACE)),$(NAMESPACE),demo)
# How many stories run side by side; most of their time is waiting.
STORIES ?= 6

.DEFAULT_GOAL := help
.PHONY: help demo test check thorough exhaustive database stories cluster cluster-down image install generate lock bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed ## a real cluster, a shop, a migration that holds its rollout: watch it (CONTEXT=... for your own cluster)
	$(PYTHON) -m tests.cluster.prepare --only-shop
	$(BIN)/python -m examples.demo --namespace $(DEMO_NAMESPACE)

# Stories mostly wait for a cluster: what keeps the processor busy runs beside them, and says at the end what it found.
test: check ## everything: lint, types, unit, real Postgres, stories on a real cluster
	@log=$$(mktemp); $(MAKE) --no-print-directory thorough > $$log 2>&1 & beside=$$!; \
	trap "kill $$beside" INT TERM; $(MAKE) --no-print-directory stories; stories=$$?; \
	wait $$beside; thorough=$$?; cat $$log; rm -f $$log; exit $$((stories + thorough))

check: .venv/.installed ## lint, types and unit tests: under a minute
	$(BIN)/ruff check operator tests examples
	$(BIN)/ruff format --check operator tests examples
	$(BIN)/mypy
	$(BIN)/lint-imports > /dev/null || $(BIN)/lint-imports
	$(BIN)/pytest tests/unit -n 2 -q -m "not exhaustive"

thorough: database exhaustive

exhaustive: .venv/.installed
	$(BIN)/pytest tests/unit -n 2 -q -m exhaustive

database: .venv/.installed ## the ledger, lock and gate on a real Postgres
	$(BIN)/pytest tests/database -n 2 -q

# The stories go where KUBECONFIG points. Whatever it says in this shell, they get the cluster that was prepared.
stories: .venv/.installed ## the stories on a real cluster, brought up if need be
	$(PYTHON) -m tests.cluster.prepare
	file=$$(mktemp) && trap 'rm -f "$$file"' EXIT HUP INT TERM && \
	  $(PYTHON) -m tests.cluster.prepare --kubeconfig > "$$file" && export KUBECONFIG="$$file" && \
	  $(BIN)/pytest tests/cluster -n $(STORIES) --dist worksteal -q -m "not alone" && \
	  $(BIN)/pytest tests/cluster -q -m alone

cluster: ## start the local cluster (kubeconfig: .cluster/kubeconfig)
	$(PYTHON) -m tests.cluster.local up

cluster-down: ## remove the local cluster and every trace of it
	$(PYTHON) -m tests.cluster.local down

image: ## build the Dockerfile as schemahold:dev and load it into the cluster
	$(PYTHON) -m tests.cluster.local load schemahold

install: image ## the chart onto the cluster
	$(PYTHON) -m tests.cluster.prepare --only-chart

generate: .venv/.installed ## crds/ and its copy in the chart, from the models; docs/rules.md
	$(BIN)/python -m schemahold.api.crd schemamigrations > crds/schemahold.dev_schemamigrations.yaml
	cp crds/*.yaml charts/schemahold/files/crds/
	$(BIN)/python -m schemahold.cli rules > docs/rules.md

lock: .venv/.installed ## the pinned requirements, from requirements/*.in
	for file in runtime dev build; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate requirements/$$file.in -o requirements/$$file.txt; done

bench: .venv/.installed ## what docs/measurements.md says, measured again on the local cluster
	$(PYTHON) -m tests.cluster.prepare --only-shop
	KUBECONFIG="$(CURDIR)/.cluster/kubeconfig" $(BIN)/python -m tests.perf.bench
	$(BIN)/python -m tests.perf.bench_sql
	$(BIN)/python -m tests.perf.bench_lock
	$(BIN)/python -m tests.perf.bench_lint

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
