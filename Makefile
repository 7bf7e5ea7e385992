# Everything runs in .venv, which the first target makes from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# DVC keeps a cache of its own outside the project otherwise, where other users could plant pickles.
export DVC_SITE_CACHE_DIR := $(CURDIR)/.dvc/tmp/site
export MLFLOW_DISABLE_TELEMETRY := true
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help bench-data bench-tracking bench-enhance bench-train setup repro test check pytest test-all scoreboard mlflow lock clean starter samples

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Before 6 GB are installed: DVC works in a Git repository only, and the scripts of an environment
# name the folder that it was made in.
.PHONY: usable
usable:
	@git rev-parse --git-dir > /dev/null 2>&1 || { echo "error: this folder is no Git repository." \
		"Use git clone in place of a ZIP, or run: git init && git add -A && git commit -m start"; exit 1; }
	@made_in=$$(sed -n '1s|^#!\(/.*\)/$(BIN)/python.*|\1|p' $(BIN)/dvc 2> /dev/null); \
		[ -z "$$made_in" ] || [ "$$made_in" = "$(CURDIR)" ] || { echo "error: .venv was made in" \
		"$$made_in and works only there. Run: make clean setup"; exit 1; }

$(READY): | usable
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || \
		{ echo "error: Python 3.11.5 or newer is needed. Name it: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $(READY)

setup: $(READY)  ## Make .venv and install everything into it

repro: $(READY)  ## Run the pipeline: images, training, evaluation, registered model
	$(RUN) dvc repro

test: check pytest  ## Check style and types, run all tests

bench-enhance: $(READY)  ## Measure seconds and memory of enhancing
	$(BIN)/python -m benchmarks.enhance

bench-train: $(READY)  ## Measure images per second of every training beside stock fastai
	$(BIN)/python -m benchmarks.train

check: $(READY)  ## Check style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process for each core, each with one thread and up to 2 GB, therefore four at most; whole
# files, in the order of tests/conftest.py.
pytest: $(READY)  ## Run the tests only
	OMP_NUM_THREADS=1 $(RUN) python -m pytest -n logical --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder

test-all: check  ## Run all tests, those that take minutes too
	$(RUN) python -m pytest -m ""

FACES ?= photographs
scoreboard: $(READY)  ## Measure models on a folder: make scoreboard FACES=folder MODELS='facesr/1'
	$(BIN)/facesr scoreboard $(MODELS) --root "$(FACES)"

.PHONY: dashboard test-browser bench-dashboard screenshots
DASHBOARD_PORT ?= 8501
dashboard: $(READY)  ## Open the page that enhances images: http://127.0.0.1:8501
	$(BIN)/streamlit run dashboard/server.py --server.port $(DASHBOARD_PORT)

test-browser: $(READY)  ## Test the page in headless Chromium (apt-get install chromium)
	$(RUN) python -m pytest -m "" tests/browser

bench-dashboard: $(READY)  ## Measure the page: first page, a result, memory, ten visitors
	PYTHONPATH=tests $(BIN)/python -m benchmarks.dashboard .

screenshots: $(READY)  ## Draw the documentation's images of the page, after make repro
	PYTHONPATH=tests $(BIN)/python tests/browser/screenshots.py . docs/dashboard

starter: $(READY)  ## Train both sets of the starter's weights on and put them into the package (three hours)
	$(BIN)/facesr profile starter
	$(RUN) dvc exp run train_gan
	$(BIN)/facesr export models/gan.safetensors --fidelity models/generator.safetensors \
		--float16 --force --output src/facesr/starter/starter.safetensors
	@echo "params.yaml is profile starter now. Put it back: git checkout params.yaml dvc.lock"

.PHONY: profile
profile: $(READY)  ## Make another profile the active one: make profile NAME=paper
	@$(BIN)/facesr profile $(NAME) $(if $(FORCE),--force)

samples: scoreboard  ## Make the README's images: make samples FACES=folder MODELS=starter
	cp .scoreboard/samples.jpg docs/samples.jpg

MLFLOW_PORT ?= 5000
mlflow: $(READY)  ## Serve MLflow's page of all runs: http://127.0.0.1:5000
	@test -f mlflow.db || { echo "error: mlflow.db is missing. Run: make repro"; exit 1; }
	@echo "http://127.0.0.1:$(MLFLOW_PORT)/#/experiments/1/runs?workflowType=machine_learning"
	@exec env $(RUN) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --workers 1 \
		--port $(MLFLOW_PORT) --backend-store-uri sqlite:///mlflow.db

bench-tracking: $(READY)  ## Measure what publish adds to a dvc repro without changes, and the store
	$(BIN)/python -m benchmarks.tracking

.PHONY: secrets images test-images
secrets:  ## Draw the passwords and tokens that docker/compose.yaml reads
	docker/secrets.sh

images:  ## Build the container images with Docker; training: --profile gpu
	docker compose -f docker/compose.yaml --profile registry build

# TORCH_INDEX= builds with PyPI's torch; BUILD_OPTIONS goes to buildah.
test-images: $(READY)  ## Build the images and run them without Docker (root; buildah, runc)
	PYTHONPATH=tests:tests/tracking $(RUN) python tests/deployment/images.py

lock: $(READY)  ## Write the installed versions to requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable | \
		grep -v -i -E '^(nvidia|cuda|triton|facesr|pip|setuptools)' > requirements.lock

bench-data: $(READY)  ## Measure decoding, degrading, packing and DVC at full size (minutes)
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.many_files

clean:  ## Delete the environment and every tool's cache; keep data, models and runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build src/*.egg-info
