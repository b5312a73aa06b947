# make demo   set up, draw the synthetic scenes, train the classic classifier on them, show the result
# make test   set up, run the tests;  make test-all  with the heavy ones
# make lint   ruff over everything;  make format  mends what ruff can
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	2>/dev/null && command -v "$$p" && break; done)
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
DEMO := demo
CORES := $(shell nproc 2>/dev/null || echo 2)

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install test test-all demo lint format clean

install: $(STAMP)

# The stamp makes a second call instant; a change of the requirements installs again.
$(STAMP): setup.py pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 found. Install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv or ensurepip. On Debian: apt-get install python3-venv"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[test]'
	@touch $@

test: $(STAMP)
	$(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist loadfile

# With those marked as heavy, half a minute or more each.
test-all: $(STAMP)
	$(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist loadfile -m ""

# Every step takes up what an earlier call left: the scenes, the shards, the run.
demo: $(DEMO)/raw/.drawn
	$(BIN)/python -m tfrecords_tools.build --output_dir=$(DEMO)/shards --kind=synthetic \
		--processes=$(CORES) \
		--coco_dir=$(DEMO)/raw/coco \
		--vist_dir=$(DEMO)/raw/vist --vist_images=$(DEMO)/raw/vist/images \
		--ads_dir=$(DEMO)/raw/ads --ads_images=$(DEMO)/raw/ads \
		--imagenet_dir=$(DEMO)/raw/imagenet \
		--imagenet_summaries=$(DEMO)/raw/imagenet/wikipedia_summaries.jsonl
	$(BIN)/python -m experiments.train_classic --flagfile=otto2020/demo_classic.flags \
		--data_dir=$(DEMO)/shards --run_dir=$(DEMO)/run
	@echo "Confusion matrix: $(DEMO)/run/figures/test_confusion_matrix.png"
	@echo "Predictions with pictures: $(DEMO)/run/figures/test_examples.png"
	@echo "TensorBoard: $(BIN)/tensorboard --logdir $(DEMO)/run"

$(DEMO)/raw/.drawn: | $(STAMP)
	$(BIN)/python -m tfrecords_tools.scenes --output_dir=$(DEMO)/raw
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
