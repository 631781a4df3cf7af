# One word for each habit; CI calls the same words. Everything that is made lands in target/ and .venv/.

PYTHON ?= python3
TOOLS  := .venv/bin
WHEELS := target/wheels
SOURCES := $(shell git ls-files Cargo.toml Cargo.lock pyproject.toml README.md scripts/build_wheel.py scripts/sbom.py \
	'src/*.rs' 'python/*' 2>/dev/null)

.PHONY: help demo bench test check soak contract deny fuzz format docs wheel clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/installed ## reprocess a thousand assignments on the embedded Graph emulator
	@$(TOOLS)/python examples/demo.py

bench: .venv/installed ## pacing and journal on the emulator, as ratios; takes a quarter of an hour
	@$(TOOLS)/python benches/pacing.py
	@$(TOOLS)/python benches/journal.py

test: .venv/ready wheel ## all tests: the core, the core without emulator, and the wheel under each Python found
	cargo test --locked --no-default-features --quiet
	cargo test --locked --quiet
	$(PYTHON) scripts/test_wheel.py $(WHEELS)

check: .venv/installed ## formats, lints, types and docs, with warnings as errors
	cargo fmt --check
	cargo clippy --locked --all-targets --all-features --quiet -- -D warnings
	cargo clippy --locked --all-targets --no-default-features --quiet -- -D warnings
	@cargo metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 --quiet >/dev/null
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features --quiet
	$(TOOLS)/ruff format --check
	$(TOOLS)/ruff check
	$(TOOLS)/mypy
	$(TOOLS)/python -m mypy.stubtest entra_reprocess._native
	$(TOOLS)/python scripts/exemptions.py

soak: wheel ## the long repetitions, under one Python
	$(PYTHON) scripts/test_wheel.py $(WHEELS) --soak

contract: wheel ## emulator and client against the published OpenAPI, and under Microsoft's SDKs (hundreds of MB)
	$(PYTHON) scripts/test_wheel.py $(WHEELS) --group contract
	$(PYTHON) scripts/test_wheel.py $(WHEELS) --group sdk

# The advisories are fetched from GitHub: without a network, `make deny DENY="bans licenses sources"`.
DENY ?= advisories bans licenses sources
deny: ## licences, duplicates, sources and advisories of the dependencies; needs cargo-deny
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install cargo-deny --locked" >&2; exit 1; }
	cargo deny --locked check $(DENY)

# Stable Rust lends libFuzzer its coverage when told to; without a sanitizer no nightly runtime is needed.
FUZZ_SECONDS ?= 600
fuzz: ## each fuzz target for FUZZ_SECONDS (600); needs cargo-fuzz
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
	@cd fuzz && for target in $$(cargo fuzz list); do \
		echo "--- $$target"; \
		mkdir -p corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run -s none $$target corpus/$$target seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 -verbosity=0 || exit 1; \
	done

format: .venv/ready ## write the formats that check asks for
	cargo fmt
	$(TOOLS)/ruff format
	$(TOOLS)/ruff check --fix

docs: ## the documentation of the Rust core, in target/doc
	cargo doc --locked --no-deps --all-features

wheel: $(WHEELS)/stamp ## the wheel, in target/wheels

clean: ## remove what was made
	rm -rf .venv target

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(TOOLS)/python -m pip install --quiet --upgrade pip
	$(TOOLS)/python -m pip install --quiet --group check --group test --group build
	@touch $@

$(WHEELS)/stamp: .venv/ready $(SOURCES)
	rm -rf $(WHEELS)
	$(TOOLS)/python scripts/build_wheel.py $(WHEELS)
	@touch $@

.venv/installed: $(WHEELS)/stamp
	$(TOOLS)/python -m pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(TOOLS)/python -m pip install --quiet $(WHEELS)/*.whl
	@touch $@
