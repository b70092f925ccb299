.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# Tests wait for processes more than they compute.
JOBS ?= 3
READY := $(VENV)/.ready
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

$(READY): constraints.txt pyproject.toml client/pyproject.toml deploy/bootstrap.sh
	@sh deploy/bootstrap.sh $(VENV)
	@touch $@

.PHONY: demo
demo: $(READY) ## Run an agent end to end: tokens, a shell command, a file, an approval, a killed worker
	@$(BIN)/everloop demo

.PHONY: dev
dev: $(READY) ## Run everything on this machine until Ctrl-C
	@$(BIN)/everloop dev

.PHONY: test
test: $(READY) ## Lint, types, layers and tests
	@$(MAKE) --no-print-directory -j2 lint types layers
	@sh deploy/test_engine.sh
	$(PYTEST)

.PHONY: thorough
thorough: $(READY) ## All tests, also those that go a way again with every process and every engine
	@sh deploy/test_engine.sh
	$(PYTEST) -m ''

.PHONY: lint
lint: $(READY) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(READY) ## Check types
	$(BIN)/pyright

.PHONY: layers
layers: $(READY) ## Check which room imports which
	$(BIN)/lint-imports

.PHONY: wire
wire: $(READY) ## Write docs/wire.md from the wire manifest
	$(BIN)/python -m tests.conformance.table

.PHONY: bench
bench: $(READY) ## Measure beside a bare Temporal loop and a direct model call; ONLY=one of them
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

.PHONY: chaos
chaos: $(READY) ## Kill processes at random for minutes while sessions run; MINUTES=5, SEED=, KEEP=1
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(KEEP),--keep)

.PHONY: picture
picture: $(READY) ## Draw the README's picture from a run of the demo
	$(BIN)/python docs/picture.py

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: constraints
constraints: ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --no-header --no-annotate \
	    --no-emit-package everloop --no-emit-package everloop-server --python-version 3.11 \
	    -o constraints.txt --upgrade

.PHONY: clean
clean: ## Remove the environment, caches and the development data
	rm -rf $(VENV) .everloop .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
