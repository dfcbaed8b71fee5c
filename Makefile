# MyCity 我的城市. Each target prepares its own environment (.venv, reused the second time), then runs the real command.
# PYTHON=python3.12 uses that Python and .venv-3.12; ARGS="..." is handed on to the command. See docs/development.md.

PYTHON ?=
ARGS ?=
NAME ?=
JSON ?=
UPGRADE ?=

# $(call with,run|dev): find a Python, prepare its environment, leave its path in $$venv. All talk is on stderr.
with = python=$$(sh tools/python.sh $(PYTHON)) && venv=$$("$$python" -S -E tools/environment.py $(1) $(if $(PYTHON),--named)) &&

.PHONY: help run test check bench lock clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

run: ## serve the demo city at http://127.0.0.1:8000
	@$(call with,run) echo "Starting the demo city" >&2 && exec "$$venv/bin/mycity" demo $(ARGS)

test: ## run the tests, on every core; PYTHON=python3.12 for that Python, ARGS="-k word" for some
	@$(call with,dev) echo "Running the tests" >&2 && exec "$$venv/bin/python" -m pytest $(or $(ARGS),-n auto --dist loadfile)

check: ## ruff, mypy --strict, import-linter
	@$(call with,dev) PATH="$$venv/bin:$$PATH" && \
	echo "ruff" >&2 && ruff check . && \
	echo "mypy --strict" >&2 && mypy feeds profiles recommender delivery api && \
	echo "import-linter" >&2 && lint-imports

bench: ## run the benchmarks; NAME=x for one, JSON=1 for one JSON object as the last line
	@$(call with,dev) echo "Running the benchmarks" >&2 && \
	exec "$$venv/bin/python" -m bench $(NAME) $(if $(filter-out 0,$(JSON)),--json) $(ARGS)

lock: ## resolve requirements/*.txt again; UPGRADE=1 takes newer versions too
	@python=$$(sh tools/python.sh $(PYTHON)) && "$$python" tools/lock.py write $(if $(filter-out 0,$(UPGRADE)),--upgrade)

clean: ## remove environments, caches and builds; the data under var/ stays
	rm -rf .venv .venv-3.* .wheels build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
