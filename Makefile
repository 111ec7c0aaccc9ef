# Context-LSTM book. `make help` lists the targets. A fresh machine needs python3 >= 3.11, make and git.
#
# Variables:
#   PYTHON=python3.12   the Python that .venv is made from
#   TORCH=cpu           PyTorch's CPU wheels, 5 GB smaller (default: the package index's wheels, CUDA ones on Linux);
#                       remembered until another TORCH=... is given
#   ARGS="-p epochs 5"  parameters for the notebook of `make reproduce`
#   TOPICS="decoding"   benchmarks of `make bench` (python -m benchmarks --help lists them); default: all
#   LAB_CONFIG=         JupyterLab with nbgrader's panels and every file in the list, for teachers
#   SHEETS="06_lstm_gates"  exercise sheets of `make grade-demo`; empty: all

PYTHON ?= python3
TORCH ?= $(or $(patsubst .venv/ready-%,%,$(wildcard .venv/ready-*)),default)
ARGS ?=
LAB_CONFIG ?= $(CURDIR)/book/jupyter
SHEETS ?= 03_ucf101 06_lstm_gates 10_results
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
READY := .venv/ready-$(TORCH)
OTHER := $(filter-out $(READY),$(wildcard .venv/ready-*))
CHAPTERS := $(wildcard book/[0-9]*.py)
REPORT := papermill_runs/report.py
.DELETE_ON_ERROR:
.PHONY: help setup reproduce report pack bench smoke test test-all lab book slides html exercises grade-demo render lint format lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv from requirements.lock (TORCH=cpu: without CUDA)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("this project needs Python 3.11 or newer; make PYTHON=... names another one" if sys.version_info < (3, 11) else 0)'
	$(if $(OTHER),rm -rf .venv)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
ifeq ($(TORCH),default)
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python .venv -r requirements.lock
else
	@grep -vE '^(nvidia-|cuda-|triton)' requirements.lock > .venv/requirements.txt
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python .venv --torch-backend $(TORCH) -r .venv/requirements.txt
endif
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python .venv --no-deps --editable .
	@rm -f .venv/ready-* && touch $@

reproduce: $(READY)  ## the main job on generated videos: features, four models, two splits, a table
	@mkdir -p papermill_runs/out
	$(BIN)/python -m papermill papermill_runs/reproduce.ipynb papermill_runs/out/reproduce.ipynb \
		--kernel python3 --log-output --no-progress-bar $(ARGS)
	@echo "The executed notebook: papermill_runs/out/reproduce.ipynb; the run records beside it."

report: $(READY)  ## every table, figure and claim of the paper beside ours, from the run records
	@mkdir -p papermill_runs/out
	$(BIN)/python -m papermill papermill_runs/report.ipynb papermill_runs/out/report.ipynb \
		--kernel python3 --no-progress-bar $(ARGS)
	@echo "The page: papermill_runs/out/report/index.html; tables and figures beside it."

pack: $(READY)  ## put the run folders of each study in papermill_runs/results into a few files, for git
	$(BIN)/python -m ctxlstm.experiments.runs pack papermill_runs/results/*/

bench: $(READY)  ## how fast and how large, as ratios, one table (TOPICS="decoding cache": these alone)
	$(BIN)/python -m benchmarks $(TOPICS)

smoke: $(READY)  ## run every notebook once with its smallest setting
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/test_smoke.py tests/test_reproduce.py \
		tests/test_siblings.py tests/test_peer_scores.py tests/test_cost_notebook.py tests/test_miniatures.py

test: lint  ## lint, unit and property tests, the main job, one chapter, one exercise sheet: 10 minutes at most
	$(BIN)/python -m pytest -n auto -m "not slow and not alone"
	$(BIN)/python -m pytest -m "alone and not slow"

test-all: lint  ## every test: all chapters and exercises, web pages, killed processes, clusters, the browser
	$(BIN)/python -m pytest -n auto -m "not alone"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m alone

lab: $(READY)  ## open JupyterLab at the book's start page
	JUPYTER_CONFIG_PATH="$(LAB_CONFIG)" $(BIN)/python -m jupyter lab

book: $(READY)  ## run every chapter, every solution and every stub
	$(BIN)/python -m pytest -n auto tests/test_book.py tests/test_exercises.py

slides: $(READY)  ## one deck of slides per part of the book, from its figures
	$(BIN)/python -m book.tools.slides

html: $(READY)  ## the book as web pages, from the committed outputs
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html book book/_build/html
	@echo "The book: book/_build/html/index.html"

exercises: $(READY)  ## make the exercises to hand out from their solutions
	$(BIN)/python -m book.tools.exercises release

grade-demo: $(READY)  ## grade a made-up class of three
	$(BIN)/python -m book.tools.exercises demo $(SHEETS)

render: $(READY)  ## make every .ipynb from its .py; run the chapters and the report, and keep their outputs
	$(BIN)/python -m book.tools.notebooks pair $(filter-out $(REPORT),$(wildcard papermill_runs/*.py))
	$(BIN)/python -m book.tools.notebooks render $(REPORT) $(CHAPTERS)

lint: $(READY)  ## check the code's format, its imports' direction and its types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/basedpyright

format: $(READY)  ## put code into the project's format
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

lock: $(READY)  ## pin all dependencies anew in requirements.lock
	$(BIN)/python -m uv pip compile pyproject.toml --universal --all-extras --python-version 3.11 --upgrade \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean:  ## remove .venv and everything that was generated here
	rm -rf .venv papermill_runs/out book/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
