# Newcomers need two commands, `make demo` and `make test`; both install what is missing.
# Build outputs outlive the checkout, because compiling RocksDB takes 10 to 20 minutes on two cores.
# `make help` shows the text after ##, under the headings after ##@.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/signonce/target
# raft-proto brings its own protoc and fails with one of another version.
unexport PROTOC

# The test node's workspace: litep2p would spend minutes compiling OpenSSL where the system's own can be linked.
VALIDATOR := cd integration/validator && OPENSSL_NO_VENDOR=1 CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/validator
ifeq ($(shell uname -s),Darwin)
VALIDATOR := cd integration/validator && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/validator
endif
# What node authors link. Crates that have the same features in the test node's workspace are compiled once for both.
KEYSTORE := cd integration/keystore && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/validator
# Chaos, torture and what they share: one workspace, one build.
# In the product's folder: more than half of their crates are the product's, with the same features.
JUDGES := cd integration/harness &&
SCENARIO ?= all
SEEDS ?= 1000
TARGET ?= all
SECONDS ?= 60

# The same packages and profile everywhere: others would unify different features and compile RocksDB again.
CARGO := scripts/cargo-with-progress
CARGO_ARGS := --release --locked --workspace
# The crates without RocksDB, in a directory of their own, so that they can be tested while something else is built.
# Not in the debug profile: the passphrases of keys and the models of the ledger take ten minutes there.
FAST := -p signonce-protocol -p signonce-substrate -p signonce-cometbft -p signonce-keys -p signonce-core -p signonce-driver -p signonce-shared
BIN := $(CARGO_TARGET_DIR)/release/signonce
DEMO_ARGS ?=
TMKMS := $(CARGO_TARGET_DIR)/tmkms/bin/tmkms

.PHONY: help setup build demo test-fast test lint test-all sim-test sim model harness-test upgrade-test helm-test deploy-test machines-test keystore-test validator-test setup-validator chain chaos torture fuzz monitoring-test oracle validator fresh-machine deny bench clean

##@ First

help: ## Shows this list
	@awk -F ':.*## ' '/^##@ /{print "\n" substr($$0, 5)} /^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## Installs missing system packages (Debian, Ubuntu, macOS)
	@scripts/setup.sh

build: setup ## Builds the signer
	$(CARGO) build $(CARGO_ARGS)

demo: build ## Three signers, two validators that race, a killed leader: no duty is signed twice
	$(BIN) demo $(DEMO_ARGS)

##@ Tests of a change

test-fast: ## Decoders, keys, ledger, replicas, without RocksDB: a minute once compiled
	@scripts/setup.sh --without-rocksdb
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/fast cargo test --release --locked $(FAST) --no-fail-fast

test: setup ## The product's crates: the above, storage, servers, commands, documents, killed processes
	$(CARGO) test $(CARGO_ARGS) --no-fail-fast

lint: setup ## Formatting and lints of the product, as errors
	cargo fmt --all --check
	$(CARGO) clippy $(CARGO_ARGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_ARGS) --no-deps

test-all: ## All of .ci/run, with nothing left out: more than an hour from scratch
	.ci/run --all

##@ What test-all runs besides `test`, `lint` and a short `demo`

sim-test: setup ## Simulator and model: named scenarios, every removed guard is noticed, lints
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo test --release --locked --workspace
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cd cluster/sim && cargo fmt --all --check

sim: setup ## Simulated clusters under faults: SEEDS=1000, SIM_ARGS="--seed 7 --nodes 5 --profile full"
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo run --release --locked -- --seeds $(SEEDS) $(SIM_ARGS)

model: setup ## Models of claim, commit, release and the fence: every state; no rule can be left out
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo run --release --locked -p signonce-model

harness-test: setup ## Tests and lints of chaos, torture and their judges
	$(JUDGES) cargo test --release --locked --workspace
	$(JUDGES) cargo clippy --release --locked --workspace --all-targets -- -D warnings
	$(JUDGES) cargo fmt --all --check

upgrade-test: build ## Upgrades from an earlier program (scripts/upgrade-from) to this one under load, and back
	previous=$$(scripts/old-program) && \
	  SIGNONCE_PREVIOUS=$$previous $(CARGO) test $(CARGO_ARGS) --test cluster old_release -- --include-ignored --nocapture

helm-test: build ## The chart without a cluster: rendering, refusals, schemas, alerts, network rules
	BIN=$(BIN) helm/test/run

deploy-test: build ## Unit, package, image, bill of materials, and machines-test unless MACHINES=no
	@scripts/setup.sh --machines
	BIN=$(BIN) deploy/test

machines-test: build ## The playbooks on throwaway systemd machines (five minutes)
	@scripts/setup.sh --machines
	BIN=$(BIN) deploy/ansible/test/run

keystore-test: ## The crate that node authors link, without a node: tests, lints, licences
	@scripts/setup.sh --without-rocksdb
	integration/keystore/licences
	$(KEYSTORE) cargo test --release --locked
	$(KEYSTORE) cargo clippy --release --locked --all-targets -- -D warnings
	$(KEYSTORE) cargo fmt --check

validator-test: setup-validator ## Test node and its runtime, the keystore in it, scenarios, oracle (800 crates the first time)
	$(VALIDATOR) cargo test --release --locked --workspace
	$(VALIDATOR) cargo test --release --locked -p signonce-keystore
	cd integration/validator && cargo fmt --all --check

setup-validator:
	@scripts/setup.sh --validator

##@ Longer, or run only by hand

chain: ## A real chain whose validators hold no keys: SCENARIO=kill-leader, or all (half an hour)
	integration/run $(SCENARIO)

chaos: build ## Real signers killed, frozen, cut off and lied to (a quarter of an hour): CHAOS_ARGS
	@scripts/setup.sh --chaos
	$(JUDGES) cargo build --release --locked --workspace
	previous=$$(scripts/old-program) || [ $$? = 3 ] && \
	  $(CARGO_TARGET_DIR)/release/signonce-chaos run --binary $(BIN) $${previous:+--previous $$previous} $(CHAOS_ARGS)

torture: build ## Our signers and tmkms, with their memory raced, killed, lost, old or copied: TORTURE_ARGS
	$(JUDGES) cargo build --release --locked --workspace
	test -x $(TMKMS) || CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/tmkms/build cargo install tmkms --version 0.15.0 --locked --features softsign --root $(CARGO_TARGET_DIR)/tmkms \
	  || echo "tmkms could not be built: it will be skipped"
	$(CARGO_TARGET_DIR)/release/signonce-torture run --signonce $(BIN) --tmkms $(TMKMS) $(TORTURE_ARGS)

fuzz: setup ## libFuzzer on every decoder, the ledger and the driver: SECONDS=60 each, TARGET=payload for one
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	set -e; for target in $(if $(filter all,$(TARGET)),$$(cargo fuzz list --fuzz-dir fuzz/libfuzzer),$(TARGET)); do \
	  mkdir -p $(CARGO_TARGET_DIR)/fuzz/corpus/$$target; \
	  cargo fuzz run --fuzz-dir fuzz/libfuzzer --target-dir $(CARGO_TARGET_DIR)/fuzz --sanitizer none $$target \
	    $(CARGO_TARGET_DIR)/fuzz/corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(SECONDS) -max_len=4096; \
	done

monitoring-test: build ## Alerts and dashboard against a real Prometheus and Alertmanager
	@scripts/setup.sh --monitoring
	$(CARGO) test $(CARGO_ARGS) --test cluster monitoring -- --include-ignored --nocapture

oracle: setup-validator ## Our decoders and signatures against Substrate's own crates (also in validator-test)
	$(VALIDATOR) cargo test --release --locked --workspace --test oracle

validator: setup-validator ## Builds the test node with a remote signer, and the scenarios
	$(VALIDATOR) cargo build --release --locked --workspace

fresh-machine: ## The README's commands on a bare Debian (most of an hour; needs root)
	scripts/fresh-machine

deny: setup ## Licences, advisories and sources of all dependencies
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny --all-features check

bench: build ## Latency and throughput, compared with a bare fsync and a bare signature
	$(BIN) bench

clean: ## Removes build outputs
	cargo clean
