# make setup | demo | test | test-gpu | backends | bench | bench-gpu | faults | soak | lint | lock | audit | clean. Everything lives in .venv; nothing outside this folder is changed.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that the wheels support, otherwise any, for the set-up to say what is wrong with it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && exit; done; \
	echo python3)

# A sourced ROS installation must not shine into the wheel environment.
unexport PYTHONPATH LD_LIBRARY_PATH CMAKE_PREFIX_PATH FASTRTPS_DEFAULT_PROFILES_FILE
export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
# Without this profile images between processes are lost; its comments say why.
export FASTDDS_DEFAULT_PROFILES_FILE := $(CURDIR)/config/fastdds.xml

BENCH_SIZE ?= 512x1024

.PHONY: setup demo test test-gpu backends bench bench-gpu faults soak lint lock audit clean

setup:
	@command -v $(PYTHON) >/dev/null || { echo "set-up: no Python found; apt install python3.11 python3.11-dev" >&2; exit 1; }
	@$(PYTHON) tools/setup_env.py

# IMAGES: a folder of images or a video of your own. FAMILY: efficientdps, panopticdepth or realtime_panoptic.
# DEMO_ARGS: see .venv/bin/dps_demo --help.
demo: setup
	@$(BIN)/dps_demo $(if $(IMAGES),--images "$(IMAGES)") $(if $(FAMILY),--weights "$(FAMILY)") $(DEMO_ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tools/ros_standins/message_filters tools/ros_standins/cv_bridge

# TEST_ARGS: for pytest, such as "-k camera" or "test/test_core_labels.py".
test: lint
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(TEST_ARGS)

# What only a GPU can show: CUDA graphs, ONNX Runtime on CUDA, TensorRT engines. Each test says why it is skipped where it is.
test-gpu: setup
	@$(BIN)/python -m pytest -m gpu $(TEST_ARGS)

# Measures all backends, and an INT8 file made for it, against fp32 PyTorch on a held-out drive: the table in the README.
backends: setup
	@mkdir -p build
	@$(BIN)/dps_synthesize bag build/drive --frames 40 --rate 2 --overwrite
	@$(BIN)/dps_export --int8 --images 64 --output build/int8.onnx
	@$(BIN)/dps_benchmark --weights efficientdps_r18_street build/int8.onnx --backend all --precision all --parity \
		--data build/drive --images 40 --json docs/backends.json --markdown README.md

# Every figure of "How fast" in the README: stages, peers, roofline, fusion and messages at full size, evaluation, growth.
# On a quiet machine, about a quarter of an hour; the first time Mask2Former is exported too. BENCH_ARGS="--compare OLD.json" and such.
bench: setup
	@mkdir -p build
	@$(BIN)/dps_export --int8 --images 64 --size $(BENCH_SIZE) --output build/int8_$(BENCH_SIZE).onnx
	@$(BIN)/dps_benchmark --weights efficientdps_r18_street build/int8_$(BENCH_SIZE).onnx --preset efficientdps_r50 \
		--size $(BENCH_SIZE) --image-size $(BENCH_SIZE) --device cpu --backend torch,onnxruntime,openvino \
		--precision fp32,bf16,int8 --peers --roofline --after-network --evaluation --scale docs/speed \
		--json docs/benchmark.json --markdown README.md $(BENCH_ARGS)
	@$(BIN)/dps_benchmark --node --weights efficientdps_r18_street build/int8_$(BENCH_SIZE).onnx --size $(BENCH_SIZE) \
		--image-size $(BENCH_SIZE) --device cpu --backend openvino --precision bf16,int8 \
		--json docs/benchmark_node.json --markdown README.md

# The same on a GPU, at the paper's size and with random weights; what is not installed becomes a note below the tables.
bench-gpu: setup
	@$(BIN)/dps_benchmark --preset efficientdps_r50 efficientdps_r18 --size 1024x2048 --image-size 1024x2048 --device cuda \
		--backend all --mode eager,compile,cuda_graphs --precision fp16 --peers --roofline --no-ros \
		--runs 100 --json docs/benchmark_gpu.json --markdown README.md $(BENCH_ARGS)

# Faults injected into the real node, and what came of them: a table in the README. FAULTS_ARGS="--only killed" and such.
faults: setup
	@$(BIN)/python -m dps_perception.trials.faults --json docs/faults.json --markdown README.md $(FAULTS_ARGS)

# 10,000 frames through the real node: memory, threads, files and shared memory of its process. SOAK_ARGS="--frames 100000" and such.
soak: setup
	@$(BIN)/python -m dps_perception.trials.soak --json docs/soak.json --markdown README.md $(SOAK_ARGS)

# The pins as they are now stay; UPGRADE=--upgrade looks for newer ones, UPGRADE="--upgrade-package NAME" for one.
lock: setup
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header $(UPGRADE) requirements.in --output-file requirements.lock

# Known vulnerabilities of the pinned packages; needs the network, and says so where it is not there (status 3).
audit: setup
	@$(BIN)/python tools/audit.py

clean:
	rm -rf $(VENV) .venv.lock .venv.partial build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
