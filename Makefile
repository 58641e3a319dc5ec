# Two commands for a fresh machine: `make demo` and `make test`.
.DEFAULT_GOAL := help
PY := .venv/bin

.PHONY: help setup demo test lint clean

help:
	@echo "make demo                 set up, then the main job from end to end, in the simulator"
	@echo "make demo LOG=path        the same on a log: bags, GNM folders, RECON, ... (RATE_HZ=10 sets the rate)"
	@echo "make test                 set up, then ruff, mypy and pytest"
	@echo "make setup                the environment alone"

setup:
	@scripts/setup.sh

demo: setup
	@scripts/demo.sh $(LOG)

lint:
	$(PY)/ruff check .
	$(PY)/ruff format --check .
	$(PY)/mypy

test: setup lint
	$(PY)/pytest

clean:
	rm -rf .venv demo_output ros2_ws/build ros2_ws/install ros2_ws/log
