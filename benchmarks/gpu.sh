#!/bin/sh
# What one GPU does, in at most ten minutes, from a bare machine with torch: benchmarks/gpu.py says what is measured.
#
#   benchmarks/gpu.sh                 # the first CUDA device; the figures go to gpu.json
#   benchmarks/gpu.sh --dry-run       # all parts on the CPU, at tiny size: shows that they run
#   WHEELS=.whl benchmarks/gpu.sh     # without a network: missing packages come from this folder of wheels
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
if ! "$PYTHON" -c "import attnres_core.plugin, torch, transformers, tokenizers, safetensors, xdist, altair" 2>/dev/null; then
    echo "gpu.sh: packages are missing; pip installs what attnres-core needs, torch stays as it is" >&2
    "$PYTHON" -c "import torch; print('torch==' + torch.__version__)" > /tmp/gpu-torch.txt
    "$PYTHON" -m pip install --quiet ${WHEELS:+--no-index --find-links "$WHEELS"} --constraint /tmp/gpu-torch.txt --editable .
fi
exec "$PYTHON" benchmarks/gpu.py "$@"
