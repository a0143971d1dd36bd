# `make run` and `make test` each do all the set-up that they need; run again they build nothing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Where rustup puts cargo, for shells that did not read its profile.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# HiGHS takes minutes of one core: compile it on all of them.
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

BINARY := $(CARGO_TARGET_DIR)/release/supercargo
TEST_CLUSTER := $(CARGO_TARGET_DIR)/release/test-cluster
CLUSTER_STATE := $(CARGO_TARGET_DIR)/test-cluster.json
DEFINITIONS := $(CARGO_TARGET_DIR)/definitions.yaml
JUDGE := $(CARGO_TARGET_DIR)/release/judge
REACH := $(CARGO_TARGET_DIR)/release/reach
TEST_LOG := $(CARGO_TARGET_DIR)/test.log
CARGO_FLAGS := --locked --release
PYTHON ?= python3

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Plan a bundled workload and print the table
	target/release/supercargo plan -f fixtures/workloads/shop.yaml

.PHONY: build
build: setup ## Build target/release/supercargo
	cargo build $(CARGO_FLAGS)
	@scripts/link-binary.sh "$(BINARY)"

.PHONY: test
test: setup cluster-parts ## Formatting, lints without warnings, every test
	@scripts/setup-rust-components.sh
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	cargo test $(CARGO_FLAGS) --workspace 2>&1 | tee "$(TEST_LOG)"
	@scripts/link-binary.sh "$(BINARY)"
	@$(MAKE) --no-print-directory CLUSTER_STATE="$(CARGO_TARGET_DIR)/test-cluster-tried.json" cluster cluster-stop
	@echo; echo "All of it again, in short:"; scripts/test-summary.sh "$(TEST_LOG)"

.PHONY: cluster
cluster: build cluster-parts ## Start a real Kubernetes control plane with the custom resources on loopback, and say where it is
	@"$(BINARY)" crds >"$(DEFINITIONS)"
	@"$(TEST_CLUSTER)" --state "$(CLUSTER_STATE)" start --apply "$(DEFINITIONS)"

.PHONY: cluster-kubeconfig
cluster-kubeconfig: ## Print where its kubeconfig is
	@"$(TEST_CLUSTER)" --state "$(CLUSTER_STATE)" kubeconfig

.PHONY: cluster-stop
cluster-stop: ## Stop it
	@if [[ -e "$(CLUSTER_STATE)" ]]; then "$(TEST_CLUSTER)" --state "$(CLUSTER_STATE)" stop; fi

# The programs of the control plane, compiled once into a cache outside of the tree.
.PHONY: cluster-parts
cluster-parts: setup
	@cargo build $(CARGO_FLAGS) --quiet --package supercargo-test-cluster
	@"$(TEST_CLUSTER)" build >/dev/null

# openb.yaml is left out: none of its pods has a rule but for the kind of its machine.
JUDGED := small-60 web-50 stateful gpu-fleet arch-mix batch shop mixed-1000
.PHONY: binding
binding: setup cluster-parts ## Re-make fixtures/BINDING.md: how plans bind on a real kube-scheduler
	cargo build $(CARGO_FLAGS) --workspace --bins
	"$(JUDGE)" --output-file fixtures/BINDING.md $(JUDGED:%=fixtures/workloads/%.yaml) \
		--note "openb.yaml is left out: of its 8,152 pods none asks for more than room and a toleration."

.PHONY: reach
reach: setup cluster-parts ## Measure how far and how fast the controller brings a real control plane; fails where that is not enough
	cargo build $(CARGO_FLAGS) --workspace --bins
	"$(REACH)"

.PHONY: bench
bench: setup ## Measure the solvers side by side with criterion
	cargo bench --locked

.PHONY: setup
setup: ## Install what compiling needs, if it is missing
	@scripts/setup.sh

.PHONY: workloads
workloads: ## Re-make fixtures/workloads (needs python3; OPENB=openb_pod_list_default.csv for openb.yaml too)
	$(PYTHON) scripts/make_workloads.py --out fixtures/workloads $(if $(OPENB),--openb "$(OPENB)")

.PHONY: scale
scale: ## Write workloads of up to 100,000 pods to target/scale, for `supercargo bench target/scale`
	$(PYTHON) scripts/make_workloads.py --scale target/scale

.PHONY: variants
variants: ## Write other draws of the workloads with the most rules to target/variants, for `supercargo bench target/variants`
	$(PYTHON) scripts/make_workloads.py --variants target/variants

.PHONY: catalog
catalog: ## Re-make fixtures/catalog (PYTHON with moto, CATALOG_FLAGS="--on-demand ...": see scripts/make_catalog.py)
	$(PYTHON) scripts/make_catalog.py --output fixtures/catalog/us-east-1.json.gz $(CATALOG_FLAGS)

.PHONY: crds
crds: setup ## Re-make charts/supercargo-crd from the types in src/api
	SUPERCARGO_WRITE_CHART=1 cargo test $(CARGO_FLAGS) --workspace --test crd_chart

.PHONY: clean
clean: ## Remove everything that was built, HiGHS included
	cargo clean
	rm -rf target
