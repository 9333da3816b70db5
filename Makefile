# Strict shell: a recipe fails on the first failing command, on an unset variable and inside a pipe.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory

GO         ?= go
TOOL       := $(GO) tool -modfile=$(CURDIR)/test/tools/go.mod
COMMIT     := $(shell git rev-parse --short=12 HEAD 2>/dev/null || true)
# Time each fuzz target runs in `make fuzz`.
FUZZTIME   ?= 20s
# Schedules that `make sim` plays, or the seed of the one that it shows.
SIM_RUNS   ?= 3000
SIM_SEED   ?=
# Flags of `make chaos`; go run ./test/chaos -help lists them.
CHAOS      ?=
# Flags of `make bench-hold`; go run ./test/bench/gateway -help lists them.
BENCH      ?=
# Percentage of statements that tests must reach.
COVER_FLOOR ?= 90
# What a release is built for.
PLATFORMS  ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
# Packages that start a real Envoy; they need bin/holdfast and .tools/envoy.
E2E        := ./test/e2e/...
# The redis-server of the tests; "none", and a word about it, where there is none.
WITH_REDIS  = HOLDFAST_REDIS=$$(bash test/tools/get-redis --or-none)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/holdfast
	$(GO) build -trimpath -ldflags "-X main.commit=$(COMMIT)" -o bin/ ./cmd/...

.PHONY: envoy
envoy: ## Put Envoy 1.40.0 into .tools/envoy (once)
	@bash test/tools/get-envoy

.PHONY: old-envoy
old-envoy: ## Put an Envoy that is too old to hold into .tools, for the test that this is noticed (once)
	@bash test/tools/get-envoy 1.36.4

.PHONY: redis
redis: ## Find a redis-server for the tests, or install Debian's
	@bash test/tools/get-redis

.PHONY: test
test: build envoy old-envoy ## Run all tests, end to end through a real Envoy included (under 2 minutes)
	$(WITH_REDIS) && export HOLDFAST_REDIS && $(GO) test -count=1 ./...

.PHONY: e2e
e2e: build envoy old-envoy ## Run only the tests that go through a real Envoy
	$(GO) test -count=1 $(E2E)

.PHONY: e2e-load
e2e-load: build envoy ## Hold 5,000 streams open at once through a real Envoy
	$(GO) test -count=1 -tags load -v ./test/load/...

.PHONY: clients
clients: build envoy ## Run a browser, MCP SDKs and other people's clients through a real Envoy
	@bash test/tools/get-clients
	cd test/clients && $(GO) test -count=1 -parallel=4 ./...

.PHONY: chaos
chaos: build envoy ## Kill origins 2,000 times while clients read (CHAOS="-drill processor-kill -store redis -kills 500": something else)
	$(WITH_REDIS) && export HOLDFAST_REDIS && $(GO) run ./test/chaos $(CHAOS)

.PHONY: chaos-short
chaos-short: build envoy ## Every drill of test/chaos, for some seconds each
	$(WITH_REDIS) && export HOLDFAST_REDIS && bash test/tools/drills

.PHONY: e2e-deploy
e2e-deploy: e2e-compose e2e-kubernetes ## Run the examples of deployments from nothing (root; builds what it needs, the first time for half an hour)

.PHONY: e2e-compose
e2e-compose: envoy ## Build and run the example for Docker Compose (root; installs Docker)
	@bash test/deploy/compose

.PHONY: e2e-kubernetes
e2e-kubernetes: build envoy ## Have a real API server, Helm and Envoy take the examples for Kubernetes
	@bash test/deploy/get-tools
	$(GO) test -count=1 -tags deploy ./test/deploy/...

.PHONY: race
race: build envoy old-envoy ## Run all tests with the race detector, in the program under test too
	$(GO) test -race -count=1 $$($(GO) list ./... | grep -v /test/e2e)
	$(GO) build -race -o bin/race/ ./cmd/...
	HOLDFAST_BIN=$(CURDIR)/bin/race/holdfast $(GO) test -count=1 $(E2E)

.PHONY: sim
sim: ## Play SIM_RUNS random schedules against the whole processor in virtual time from SIM_FROM (SIM_SEED=n: play one, and show it)
	@SIM_RUNS=$(SIM_RUNS) SIM_SEED=$(SIM_SEED) $(GO) test -count=1 -timeout 4h -v -run '^TestSchedules$$' ./test/sim | grep -v '^=== \|^ *--- PASS'

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each
	@bash test/tools/fuzz $(FUZZTIME)

.PHONY: bench
bench: build envoy ## Measure, and print ratios against the baselines (docs/performance.md)
	$(GO) test -run '^$$' -bench . -benchmem ./processor/... ./sessionstore/...
	@bash test/tools/bench

.PHONY: bench-hold
bench-hold: build envoy ## Measure held streams on the whole way through Envoy (BENCH="-run paced -rounds 5" for a part)
	$(GO) run ./test/bench/gateway $(BENCH)

.PHONY: bench-check
bench-check: build envoy ## Fail if a ratio of docs/performance.md is missed
	@bash test/tools/bench -check

.PHONY: lint
lint: ## Check style, architecture, shell scripts and stored formats
	$(TOOL) golangci-lint run
	cd test/clients && $(TOOL) golangci-lint run --config $(CURDIR)/.golangci.yml
	@bash test/tools/check-shell
	$(TOOL) buf lint
	$(TOOL) buf breaking --against proto/released.json

.PHONY: vuln
vuln: ## Look up known vulnerabilities in dependencies (needs network)
	$(TOOL) govulncheck ./...

.PHONY: cover
cover: build envoy ## Measure coverage of the unit tests and fail below COVER_FLOOR percent
	@bash test/tools/cover $(COVER_FLOOR)

.PHONY: generate
generate: ## Write the generated documents and code anew
	$(GO) generate ./...

.PHONY: release-snapshot
release-snapshot: ## Build static binaries of this commit for PLATFORMS into dist/, with bills of materials and checksums
	rm -rf dist
	@bash test/tools/release dist $(PLATFORMS)
	@cat dist/SHA256SUMS

.PHONY: release-check
release-check: ## Build a release twice, in different places, and fail if the bytes differ (minutes; PLATFORMS=linux/amd64 for one)
	@bash test/tools/release-check $(PLATFORMS)

.PHONY: release-formats
release-formats: ## Make the formats of stored records, as they are now, those that later versions must read
	$(TOOL) buf breaking --against proto/released.json
	$(TOOL) buf build --exclude-source-info -o proto/released.json

.PHONY: check-generate
check-generate: ## Fail if generated files are out of date
	@bash test/tools/check-generate

.PHONY: monitoring
monitoring: build envoy ## Check examples/monitoring with promtool, and ask a real Prometheus every expression in it
	@command -v promtool >/dev/null || { echo "promtool is needed: install Prometheus (Debian, Ubuntu: apt-get install prometheus)" >&2; exit 1; }
	cd examples/monitoring && promtool check config --syntax-only prometheus.yaml && promtool check rules alerts.yaml && promtool test rules alerts_test.yaml
	$(GO) test -tags monitoring -count=1 -run '^TestMonitoring$$' ./test/e2e

.PHONY: demo
demo: build envoy ## Show it: kill an origin 20 times, plain Envoy beside Holdfast (30 s)
	$(GO) run ./examples/demo

.PHONY: ci
ci: PLATFORMS = linux/amd64
ci: lint check-generate test race sim fuzz cover e2e-load clients chaos-short monitoring release-check ## Everything that a change must pass

.PHONY: clean
clean: ## Remove what was built; the Envoy in .tools stays
	rm -rf bin dist coverage.*
