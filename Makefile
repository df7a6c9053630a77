# What every change passes (check, test), and what measures it. The scripts are in .ci.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help check fmt clippy doc deny test soak loom coverage bench gate loadtest

help: ## Shows this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

check: fmt clippy doc deny ## Everything that reads the code and does not run it

fmt:
	cargo fmt --check

clippy:
	cargo clippy --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

deny:
	.ci/need-cargo cargo-deny 0.20.2
	.ci/deny

test: ## Every test; installs what they need
	.ci/need curl curl
	.ci/need h2load nghttp2-client
	.ci/need openssl openssl
	.ci/need promtool prometheus
	.ci/need redis-server redis-server
	.ci/need-python kosoku==0.1.0 websockets==17.4
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --no-fail-fast --failure-output immediate-final; \
	else \
		cargo test --locked --no-fail-fast --lib --bins --tests; \
	fi

soak: export TIDEGATE_SOAK = 1
soak: test ## The same tests in full size: 1 GiB bodies, 1,000 reloads

loom: ## The limiter's locks and the breaker's word under every schedule; builds apart from the rest
	RUSTFLAGS='--cfg gateway_loom' cargo test --locked --lib --target-dir target/loom -- limit::tests::model breaker::tests::races

coverage: ## Which lines the tests reach; installs what it needs
	.ci/coverage

bench: ## Instruction counts, exact on any machine, and nanoseconds of limits; installs what it needs
	.ci/need valgrind valgrind libc6-dbg
	.ci/need-cargo gungraun-runner "$$(sed -n '/^name = "gungraun"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)"
	cargo bench --locked --bench counts
	cargo bench --locked --bench limiter

gate: ## Refuses counts that have grown by 2 %
	.ci/need valgrind valgrind libc6-dbg
	.ci/need-cargo gungraun-runner "$$(sed -n '/^name = "gungraun"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)"
	python3 benches/gate.py

loadtest: ## Measures Tidegate against nginx and HAProxy, about 14 minutes
	.ci/need nginx nginx-light
	.ci/need haproxy haproxy
	.ci/need wrk wrk
	cargo build --locked --release --bins --example sockets
	loadtest/run
