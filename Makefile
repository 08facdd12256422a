# Two commands matter: `make dev` and `make test`. `make` alone lists them all.
#
# What a command needs and the machine lacks it fetches itself: Python packages
# into target/venv, Debian packages with apt-get (that alone needs root). Both
# are quick when there is nothing left to do.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

CARGO ?= cargo
PYTHON ?= python3
# Flags for `tradewind dev`, `make dev ARGS="--sites 3"`, and for the benchmark.
ARGS ?=

TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := $(TARGET)/venv
REQUIREMENTS := tests/chaos/python/requirements.txt
# The stamp's name holds what was asked for: other requirements, another stamp.
VENV_STAMP := $(VENV)/.installed-$(shell cat $(REQUIREMENTS) | sha256sum | cut -c1-16)

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: dev
dev: ## Run two sites on this machine (flags: ARGS="--sites 3")
	$(CARGO) run --release --locked -- dev $(ARGS)

.PHONY: test
test: test-env lint ## Fetch what the tests need, then run them all
	$(CARGO) test --workspace --locked

# One after the other, and by name: cargo stops at the first that fails.
LONG := long_store_drill long_store_failover long_store_crash

.PHONY: test-long
test-long: test-env ## Run the tests that take hours (one: LONG=long_store_crash)
	$(CARGO) build --workspace --locked
	for name in $(LONG); do $(CARGO) test --package chaos --features long --locked --test $$name -- --nocapture --test-threads 3; done

.PHONY: lint
lint: ## Check format, clippy and documentation, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features chaos/long --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

.PHONY: bench
bench: bench-env ## Measure the gateway beside nginx and HAProxy, the store beside Redis
	$(CARGO) build --profile dist --locked --package ops
	$(TARGET)/dist/tradewind bench gateway $(ARGS)
	$(TARGET)/dist/tradewind bench store $(ARGS)

.PHONY: test-env
test-env: $(VENV_STAMP) ## Fetch what the tests need, and no more
	@command -v curl >/dev/null || tests/chaos/debian-packages curl
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || tests/chaos/debian-packages postgresql
	@PATH="$$PATH:/usr/sbin"; command -v mariadbd >/dev/null || tests/chaos/debian-packages mariadb-server
	@command -v redis-server >/dev/null || tests/chaos/debian-packages redis-server

$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: the tests need Python 3.10 or later as $(PYTHON); set PYTHON=" >&2; exit 1; }
	@# Debian keeps what fills a virtual environment in a package of its own.
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tests/chaos/debian-packages python3-venv
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement $(REQUIREMENTS)
	touch $@

.PHONY: bench-env
bench-env:
	@PATH="$$PATH:/usr/sbin"; command -v nginx >/dev/null || tests/chaos/debian-packages nginx-light
	@PATH="$$PATH:/usr/sbin"; command -v haproxy >/dev/null || tests/chaos/debian-packages haproxy
	@command -v redis-server >/dev/null || tests/chaos/debian-packages redis-server
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	  tests/chaos/debian-packages postgresql
