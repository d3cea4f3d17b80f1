# The two commands of a newcomer are `make demo` and `make test`; both install what they lack.
# Build outputs outlive the checkout, because compiling RocksDB takes about ten minutes on two cores.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/signonce/target
# raft-proto brings its own protoc and stops at one of another version.
unexport PROTOC

# The test node's workspace: litep2p would compile OpenSSL for minutes where the system's own can be linked.
VALIDATOR := cd integration/validator && OPENSSL_NO_VENDOR=1 CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/validator
ifeq ($(shell uname -s),Darwin)
VALIDATOR := cd integration/validator && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/validator
endif
# Chaos, torture and what they share: one workspace, one build.
JUDGES := cd integration/harness && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/judges
SCENARIO ?= all
SEEDS ?= 1000
TARGET ?= all
SECONDS ?= 60

# One selection of packages and one profile everywhere: another would unify other features and compile RocksDB anew.
CARGO := scripts/cargo-with-progress
CARGO_ARGS := --release --locked --workspace
BIN := $(CARGO_TARGET_DIR)/release/signonce
DEMO_ARGS ?=
TMKMS := $(CARGO_TARGET_DIR)/tmkms/bin/tmkms

.PHONY: help setup setup-validator build demo test monitoring-test upgrade-test lint deny oracle validator validator-test chain chaos torture harness-test sim sim-test model fuzz helm-test deploy-test bench clean

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Installs missing system packages (Debian, Ubuntu, macOS)
	@scripts/setup.sh

build: setup ## Builds the signer
	$(CARGO) build $(CARGO_ARGS)

demo: build ## Three signers, two validators that race, a killed leader: watch that no duty is signed twice
	$(BIN) demo $(DEMO_ARGS)

test: setup ## All tests: unit, property, vectors, and real processes that are killed
	$(CARGO) test $(CARGO_ARGS) --no-fail-fast

monitoring-test: build ## Alert rules and dashboard against a real Prometheus and Alertmanager, and a node that is killed
	@scripts/setup.sh --monitoring
	$(CARGO) test $(CARGO_ARGS) --test cluster monitoring -- --include-ignored --nocapture

upgrade-test: build ## From the last release's program to this one under load, and back; what one wrote, the other reads
	@previous=$$(scripts/release-binary) || { \
	  [ $$? = 3 ] || exit 1; echo "upgrade-test: SKIPPED, nothing was tested: the last release's program is not here"; exit 0; }; \
	SIGNONCE_PREVIOUS=$$previous $(CARGO) test $(CARGO_ARGS) --test cluster old_release -- --include-ignored --nocapture

lint: setup ## Formatting and lints, as errors
	cargo fmt --all --check
	$(CARGO) clippy $(CARGO_ARGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_ARGS) --no-deps

deny: setup ## Licences, advisories and sources of all dependencies
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny --all-features check

oracle: setup-validator ## Our decoders and signatures against Substrate's own crates (several hundred; in validator-test too)
	$(VALIDATOR) cargo test --release --locked -p signonce-oracle

setup-validator:
	@scripts/setup.sh --validator

validator: setup-validator ## Builds the test node with a remote signer (800 crates, ten minutes, once) and the scenarios
	$(VALIDATOR) cargo build --release --locked --workspace

validator-test: setup-validator ## Tests and lints of the keystore crate, the test node, its runtime, the scenarios and the oracle
	$(VALIDATOR) cargo test --release --locked --workspace
	cd integration/validator && cargo fmt --all --check

chain: ## A real chain without keys on its validators: SCENARIO=kill-leader, or all (half an hour)
	integration/run $(SCENARIO)

chaos: build ## Real signers killed, frozen, cut off and lied to, one checker for every answer (a quarter of an hour): CHAOS_ARGS
	@scripts/setup.sh --chaos
	$(JUDGES) cargo build --release --locked --workspace
	previous=$$(scripts/release-binary) || [ $$? = 3 ] && \
	  $(CARGO_TARGET_DIR)/judges/release/signonce-chaos run --binary $(BIN) $${previous:+--previous $$previous} $(CHAOS_ARGS)

torture: build ## What two signers do when their memory is raced, killed, lost, old or copied: ours and tmkms: TORTURE_ARGS
	$(JUDGES) cargo build --release --locked --workspace
	test -x $(TMKMS) || CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/tmkms/build cargo install tmkms --version 0.15.0 --locked --features softsign --root $(CARGO_TARGET_DIR)/tmkms \
	  || echo "tmkms could not be built: it will be skipped"
	$(CARGO_TARGET_DIR)/judges/release/signonce-torture run --signonce $(BIN) --tmkms $(TMKMS) $(TORTURE_ARGS)

harness-test: setup ## Tests and lints of the judges: of chaos and torture, and what they share
	$(JUDGES) cargo test --release --locked --workspace
	$(JUDGES) cargo clippy --release --locked --workspace --all-targets -- -D warnings
	$(JUDGES) cargo fmt --all --check

sim: setup ## Simulated clusters under faults, from one number each: SEEDS=…, SIM_ARGS="--seed 7 --nodes 5 --profile full"
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo run --release --locked -- --seeds $(SEEDS) $(SIM_ARGS)

sim-test: setup ## Tests and lints of simulator and model: named scenarios, and that every guard taken away is noticed
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo test --release --locked --workspace
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cd cluster/sim && cargo fmt --all --check

model: setup ## Models of claim, commit, release and of the fence: every state, and that no rule can be left out
	cd cluster/sim && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/sim cargo run --release --locked -p signonce-model

fuzz: setup ## libFuzzer on every decoder and the ledger, SECONDS=60 each; TARGET=payload takes one (the names are in fuzz/src/lib.rs)
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	set -e; for target in $(if $(filter all,$(TARGET)),$$(cargo fuzz list --fuzz-dir fuzz/libfuzzer),$(TARGET)); do \
	  mkdir -p $(CARGO_TARGET_DIR)/fuzz/corpus/$$target; \
	  cargo fuzz run --fuzz-dir fuzz/libfuzzer --target-dir $(CARGO_TARGET_DIR)/fuzz --sanitizer none $$target \
	    $(CARGO_TARGET_DIR)/fuzz/corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(SECONDS) -max_len=4096; \
	done

helm-test: build ## The chart without a cluster: lint, renders, refusals, accounts, schemas, alerts, and signers under its network rules
	BIN=$(BIN) helm/test/run

deploy-test: build ## Unit, package, image, bill of materials, playbooks on machines of their own
	@scripts/setup.sh --machines
	BIN=$(BIN) deploy/test

bench: build ## Latency and throughput next to a bare fsync and a bare signature
	$(BIN) bench

clean: ## Removes build outputs
	cargo clean
