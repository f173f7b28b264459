# Each target works as the first command after a clone: it installs what it needs, and nothing when nothing changed.
# PYTHON=… chooses the interpreter, ARGS=… is handed to pytest.

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
# With stores of your own nothing is embedded, and no platform is unsupported.
RUNTIME := requirements.txt $(if $(and $(MONGODB_URI),$(REDIS_URL)),,requirements-embedded.txt)
# Most tests wait for a real process; a file stays in one worker, and each worker has stores of its own.
PARALLEL := -n 3 --dist loadfile
INTERPRETERS := $(BIN)/python python3.11 python3.12 python3.13 python3
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON = $(shell for p in $(INTERPRETERS); do $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)

.NOTPARALLEL:
.PHONY: bench-install bench-live bench-history run install test test-all test-slow lint format assets requirements clean runtime development peers python

run: runtime assets  ## the whole platform; PORT chooses the web port
	@exec $(BIN)/python manage.py up

install: development assets

test: development assets  ## what README.md calls the tests
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-all: development assets peers  ## also independent clients, slow faults and several processes
	@$(BIN)/python -m pytest $(PARALLEL) -m '' $(ARGS)

test-slow: development assets peers  ## only what test-all adds to test
	@$(BIN)/python -m pytest $(PARALLEL) -m slow $(ARGS)

bench-live: bench-install benchmarks/node_modules/.package-lock.json  ## the live path beside its peers; ARGS="3.14 3.19" measures only those, ARGS=soak takes an hour
	@$(BENCH)/bin/python -m benchmarks.live $(ARGS)

bench-history: bench-install  ## the bar store and backfills beside their peers; ARGS="store" measures only that part
	@$(BENCH)/bin/python -m benchmarks.history $(ARGS)

bench-install: python
	@$(PYTHON) tools/install.py --venv $(BENCH) $(RUNTIME) requirements-bench.txt

benchmarks/node_modules/.package-lock.json: benchmarks/package-lock.json
	@npm ci --ignore-scripts --no-fund --no-audit --prefix benchmarks

lint: development
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: development
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

assets: runtime
	@$(BIN)/python tools/assets.py

requirements: development  ## pins anew what requirements/*.in ask for; first runtime, which the others follow
	@for name in runtime embedded dev peers bench; do \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	    requirements/$$name.in -o requirements$$(test $$name = runtime || echo -$$name).txt || exit 1; \
	done

clean:  ## everything that can be made again; the data in var/ stays
	@rm -rf $(VENV) .venv-peers $(BENCH) marketdata/static/vendor .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

runtime: python
	@$(PYTHON) tools/install.py $(RUNTIME)

development: python
	@$(PYTHON) tools/install.py $(RUNTIME) requirements-dev.txt

peers: python
	@$(PYTHON) tools/install.py --venv .venv-peers requirements-peers.txt

python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: sudo apt-get install -y python3.11 python3.11-venv" >&2; exit 2; }
