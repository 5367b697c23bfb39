# ARL: run "make" for what can be made.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN     := $(CURDIR)/bin
# One value for all recipes, even if a commit lands while they run.
VERSION := $(or $(VERSION),$(shell git describe --tags --always --dirty 2>/dev/null || echo unknown))

# Every build and test uses the same tags, so that they share one build cache.
export GOFLAGS := $(GOFLAGS) -tags=netgo,osusergo

VERSION_FLAGS := -X main.version=$(VERSION)
# libcontainer needs cgo. The server is linked statically all the same, so that
# one file runs on any Linux machine and as first process of a container.
SERVER_FLAGS := -ldflags '-s -w -linkmode external -extldflags -static $(VERSION_FLAGS)'
AGENT_FLAGS  := -ldflags '-s -w $(VERSION_FLAGS)'

# Packages whose tests need no server process; the others are test-integration and hostile.
UNIT = $$(go list ./... | grep -v '/test/integration\|/test/hostile$$')

.PHONY: help
help: ## Show this text.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: tools
tools:
	@hack/require.sh go gcc git

.PHONY: build
build: tools ## Build bin/arl-apiserver, bin/arl-agent and bin/arl-launcher.
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build $(AGENT_FLAGS) -o $(BIN)/arl-agent ./cmd/agent
	CGO_ENABLED=1 go build -ldflags '-s -w' -o $(BIN)/arl-launcher ./cmd/launcher
	CGO_ENABLED=1 go build $(SERVER_FLAGS) -o $(BIN)/arl-apiserver ./cmd/apiserver

.PHONY: kubectl
kubectl: tools ## Print the path of a kubectl of 1.31 or newer, built if there is none.
	@hack/kubectl.sh

.PHONY: demo
demo: build bin/arl-bench ## Show pools, sandboxes and tasks at work on this machine, then clean up.
	@hack/demo.sh

.PHONY: run
run: build ## Run a standalone server in the foreground, with its data in ./arl-data.
	$(BIN)/arl-apiserver --standalone --data-dir arl-data --allow-host-image

.PHONY: test
test: tools ## Run the unit tests of all packages, with the race detector.
	go test -race $(TESTFLAGS) $(UNIT)

.PHONY: test-integration
test-integration: build ## Run the tests that start real servers and containers.
	KUBECTL=$$(hack/kubectl.sh) go test -count=1 -timeout 30m $(TESTFLAGS) ./test/integration/...

# The agent that can be hostile is the real one with one file more.
.PHONY: arl-agent-hostile
arl-agent-hostile: tools
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build $(AGENT_FLAGS) -overlay <(echo '{"Replace": {"cmd/agent/hostile.go": "test/hostile/falseagent/testdata/hook.go"}}') \
		-o $(BIN)/arl-agent-hostile ./cmd/agent

.PHONY: hostile
hostile: build arl-agent-hostile ## Attack a server from its agents, from steps, and as a tenant (HOSTILE_DURATION); needs root.
	go test -count=1 -timeout 30m $(TESTFLAGS) ./test/hostile

.PHONY: e2e-packages
e2e-packages:
	@hack/e2e-packages.sh

# The image of the tests has a name and a place of its own.
e2e e2e-cluster: IMAGE = $(BIN)/image/e2e.tar
e2e e2e-cluster: IMAGE_TAGS = arl.io/arl:e2e

.PHONY: e2e
e2e: image ## Run the tests in a real Kubernetes cluster, built from source; needs root (25 minutes at first, then 9).
	cd test/e2e && go vet ./... && ARL_IMAGE=$(IMAGE) go test -count=1 -v -timeout 60m $(TESTFLAGS) ./...

.PHONY: e2e-cluster
e2e-cluster: image ## Start the cluster of the tests, with this project's image, and keep it until interrupted.
	cd test/e2e && go build -o $(BIN)/arl-e2e-cluster ./up && exec $(BIN)/arl-e2e-cluster $(IMAGE)

.PHONY: e2e-components
e2e-components: tools ## Make the cluster of the tests another version: KUBERNETES=v1.34.4.
	@hack/e2e-components.sh $(KUBERNETES)

.PHONY: test-sdk
test-sdk: build ## Check the Python SDK: style, types, and tests that start a real server; needs root or user namespaces.
	@hack/test-sdk.sh $(PYTESTFLAGS)

.PHONY: test-clients
test-clients: build ## Use a standalone server with clients that nobody here wrote; needs root or user namespaces.
	@hack/test-clients.sh

.PHONY: docs-sdk
docs-sdk: ## Write the reference of the Python SDK to dist/python-docs.
	@hack/docs-sdk.sh

.PHONY: cover
cover: tools ## Check the coverage of storage and scheduler.
	@hack/verify-coverage.sh

# How far "make robustness" goes: rounds of each random test, and every how many
# calls of the storage a fault is injected. ROUNDS=300 STRIDE=1 is the long run.
ROUNDS ?= 60
STRIDE ?= 2

.PHONY: robustness
robustness: build ## Kill, starve and damage databases at random, and check that nothing is lost (ROUNDS, STRIDE, SEED).
	ARL_BIN=$(BIN)/arl-apiserver go test -count=1 -v -timeout 3h $(TESTFLAGS) ./test/robustness \
		-rounds=$(ROUNDS) -stride=$(STRIDE) -seed=$(or $(SEED),0)
	go test -count=1 -v -timeout 3h $(TESTFLAGS) ./pkg/storage/kv -run '^TestModel$$' \
		-model.runs=8 -model.seed=$(or $(SEED),$$RANDOM)

# How long "make fuzz" runs each target, and which.
FUZZTIME ?= 10s
FUZZ     ?= .

.PHONY: fuzz
fuzz: tools ## Run every fuzz target for FUZZTIME, or those whose folder or name matches FUZZ.
	hack/fuzz.sh $(FUZZTIME) '$(FUZZ)'

.PHONY: mutations
mutations: tools ## Check that builds which are broken on purpose are found out.
	hack/verify-mutations.sh

.PHONY: verify
verify: tools ## Check formatting, static analysis, generated code and go.mod.
	hack/verify-static.sh
	hack/verify-codegen.sh
	hack/verify-mod.sh

.PHONY: verify-manifests
verify-manifests: tools ## Check the manifests and the Helm chart: that they are valid, agree, and fit the program.
	cd test/manifests && go vet ./... && go test -count=1 $(TESTFLAGS) ./...

.PHONY: test-kstatus
test-kstatus: build ## Check that kstatus, by which Flux and others judge objects, reads the health of ours.
	cd test/kstatus && go vet ./... && ARL_BIN=$(BIN)/arl-apiserver go test -count=1 $(TESTFLAGS) ./...

.PHONY: update
update: tools ## Regenerate all generated code.
	hack/update-codegen.sh

.PHONY: bench
bench: build bin/arl-bench ## Measure latencies and rates of a standalone server on this machine.
	$(BIN)/arl-bench --server $(BIN)/arl-apiserver --burst 20 --clients 10 $(BENCHFLAGS)

.PHONY: bin/arl-bench
bin/arl-bench:
	go build -o $(BIN)/arl-bench ./test/bench/latency

.PHONY: bench-storage
bench-storage: tools ## Measure storage against the etcd3 store with a real etcd, on the same disk.
	cd test/bench/storage && go build -o $(BIN)/etcd go.etcd.io/etcd/server/v3 && go build -o $(BIN)/arl-bench-storage .
	$(BIN)/arl-bench-storage --etcd $(BIN)/etcd $(BENCHFLAGS)

.PHONY: bench-growth
bench-growth: tools ## Record files, memory and latencies over a million lifecycles of tasks.
	go build -o $(BIN)/arl-bench-growth ./test/bench/growth
	$(BIN)/arl-bench-growth $(BENCHFLAGS)

.PHONY: bench-restart
bench-restart: build ## Measure starts and memory against the number of stored tasks.
	go build -o $(BIN)/arl-bench-restart ./test/bench/restart
	$(BIN)/arl-bench-restart --server $(BIN)/arl-apiserver $(BENCHFLAGS)

# The image is made of programs of its own, which hold no path of this machine:
# the same commit gives the same bytes anywhere, with the same compilers.
IMAGE_BIN   := $(BIN)/image
IMAGE       ?= dist/arl-image.tar
IMAGE_NAME  ?= arl.io/arl
IMAGE_TAGS  ?= $(IMAGE_NAME):$(VERSION)
export SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))

.PHONY: image-programs
image-programs: tools
	@mkdir -p $(IMAGE_BIN)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false $(AGENT_FLAGS) -o $(IMAGE_BIN)/arl-agent ./cmd/agent
	CGO_ENABLED=1 go build -trimpath -buildvcs=false $(SERVER_FLAGS) -o $(IMAGE_BIN)/arl-apiserver ./cmd/apiserver

.PHONY: image
image: image-programs ## Build a container image, the same bit for bit each time, into IMAGE under IMAGE_TAGS.
	go run ./hack/image --bin $(IMAGE_BIN) --out $(IMAGE) --version $(VERSION) \
		--revision "$$(git rev-parse HEAD 2>/dev/null || true)" $(addprefix --tag ,$(IMAGE_TAGS)) $(IMAGE_FLAGS)

.PHONY: push
push: IMAGE_FLAGS += --push
push: image ## Build the image and put it into a registry: IMAGE_NAME=registry.example.com/arl VERSION=v0.1.0.

.PHONY: clean
clean: ## Remove what was built.
	rm -rf $(BIN)
