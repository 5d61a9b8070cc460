# Everything from nothing but python3, make and gcc.
#
#   make demo    the tunnel at work over a bad path, in under two minutes
#   make test    all tests; PYTEST="-k smux -x" hands options on
#   make simulate SEEDS=1000   so many random worlds, from seed FROM=0 on, in JOBS=2 processes
#   make docs    the documentation, in docs/_build/html
#   make fuzz    a coverage-guided fuzzer on TARGET (all), SECONDS (60) for each
#   make bench   tunnels beside Go's kcptun, measured: CASES (all), ROUNDS (5), SECONDS (4) for each run
#   make lint    ruff and mypy
#   make clean   back to what git has

# Many tests wait for processes: more workers than cores, and who is done takes work from the others.
PYTEST = -n 4 --dist worksteal --durations=15
TARGET = all
SECONDS = 60
python = .venv/bin/python

.PHONY: help demo test simulate docs fuzz bench lint clean
.SILENT:

help:
	sed -n 's/^#   //p' Makefile

demo:
	tools/environment.sh
	$(python) -m kcpstack.demo

test:
	tools/environment.sh test
	tools/go-peer.sh
	tools/tshark.sh
	$(python) -m pytest $(PYTEST)

simulate:
	tools/environment.sh test
	$(python) tests/simulation/simulate.py --seeds $(or $(SEEDS),1000) --from $(or $(FROM),0) $(if $(JOBS),--jobs $(JOBS))

docs:
	tools/environment.sh docs
	$(python) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	echo "docs/_build/html/index.html"

fuzz:
	tools/environment.sh fuzz
	$(python) -m fuzz.run $(TARGET) --seconds $(SECONDS)

bench: SECONDS = 4
bench:
	tools/environment.sh
	tools/go-peer.sh
	tools/system-package.sh nftables ethtool iproute2 || echo "the cases with loss cannot run" >&2
	$(python) -m benchmarks.bench_tunnel --cases $(or $(CASES),all) --rounds $(or $(ROUNDS),5) --seconds $(SECONDS) $(if $(JSON),--json $(JSON))

lint:
	tools/environment.sh lint
	$(python) -m ruff check .
	$(python) -m mypy

clean:
	find kcpstack -name "*.so" -delete; rm -rf .venv .fuzz build docs/_build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name dropin.cache -delete
