# Two commands are all that a newcomer needs: `make run` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# rustup's directory, for shells that have not read the user's profile.
export PATH := $(PATH):$(HOME)/.cargo/bin

# The development profile: the release profile optimises across all crates, which multiplies the
# first build's minutes, and a demonstration on one machine does not notice the difference. The
# dependencies, where the hot loops are, are optimised a little even here (see Cargo.toml).
PROFILE ?= dev

.DEFAULT_GOAL := help
.PHONY: help run build test test-long faults fuzz mutants bench peers lint fmt clean tools

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, then start a server with sample data and print where to look
	@scripts/provide.sh cargo cc
	@echo "Building Core314. The first build takes some minutes, later ones take seconds."
	cargo build --profile $(PROFILE) --bin core314
	cargo run --quiet --profile $(PROFILE) --bin core314 -- dev --demo

build: ## Build the binary as it is released: target/release/core314
	@scripts/provide.sh cargo cc
	cargo build --locked --release --bin core314

# The cheap checks come first. Plain `cargo test` is the runner: it is on every machine, one process
# per test binary shares set-up between its tests, and it runs the documentation's examples too.
test: tools lint ## Install what is missing, then check and test everything on both stores
	CORE314_TEST_ALERTMANAGER="$$(scripts/provide.sh --path alertmanager)" \
	CORE314_TEST_AIOSMTPD="$$(scripts/provide.sh --path aiosmtpd)" \
	scripts/with-postgres.sh cargo test --locked --workspace --features failpoints --no-fail-fast

test-long: export CORE314_LONG = 1
test-long: test ## The same with the long form of crash, cluster and simulation runs (hours)

# Each kind is a run of its own: FAULTS="kill stop" begins these two anew and keeps what the report says of the others.
FAULTS ?= kill stop cut postgres clock overload disk away upgrade
FAULT_ROUNDS ?= 100
faults: ## Fault runs in their long form, and their report in docs/faults.md (hours)
	@scripts/provide.sh cargo cc postgres
	CORE314_ROUNDS=$(FAULT_ROUNDS) scripts/faults.sh $(FAULTS)

# Stable Rust is enough: without a sanitizer, of which code without `unsafe` has little use. An input that takes longer
# than a second, or more memory than 512 MB at once, is a finding like a panic.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= expression template matcher document_json document_yaml
fuzz: ## Fuzz the parsers of expressions and documents, ten minutes each
	@scripts/provide.sh cargo cc
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p "fuzz/corpus/$$target"; \
		cargo fuzz run --sanitizer none --release --debug-assertions "$$target" \
			"fuzz/corpus/$$target" "fuzz/seeds/$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=2 -rss_limit_mb=2048 -malloc_limit_mb=512; \
	done

# One part of many, at most two hours; scripts/mutants.sh says how to choose others.
mutants: ## Change the pure domain in many places, and see whether its tests notice
	@scripts/provide.sh cargo cc
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	scripts/mutants.sh

# Duplicate versions are only reported, and that by `cargo deny check bans` itself: a list that is
# printed every time is not read. The targets of the fuzzer stand outside of the workspace: they are only checked, so that
# they follow what they call.
lint: tools ## Formatting, clippy, licences and sources of dependencies
	cargo fmt --all --check
	cargo deny --locked check --hide-inclusion-graph --allow duplicate licenses bans sources
	cargo clippy --locked --workspace --all-targets --features failpoints -- -D warnings
	cargo clippy --locked --workspace -- -D warnings
	cargo check --locked --manifest-path fuzz/Cargo.toml --no-default-features

bench: ## Run the benchmarks, with PostgreSQL beside them
	@scripts/provide.sh cargo cc postgres
	scripts/with-postgres.sh cargo bench --workspace

# As released, since that is what the peers are; see docs/peers.md.
peers: build ## Measure graphile-worker, pg-boss, DBOS and Restate beside us, in a table
	@scripts/provide.sh postgres
	benches/peers/run

fmt: ## Format all Rust code
	cargo fmt --all

clean: ## Remove what was built (not ./data)
	cargo clean

tools:
	@scripts/provide.sh cargo cc rust-components cargo-deny postgres alertmanager aiosmtpd
