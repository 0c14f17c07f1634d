#!/bin/sh
# install.sh [PYTHON] [cpu|gpu] [EXTRAS] [--editable]: install this project in PYTHON's environment.
# The one way to install it: for `make backend`, `make install`, the Docker image, and any other
# environment. "cpu" (the default) takes PyTorch without CUDA, which is 5 GB smaller.
set -eu
python=${1:-python3} build=${2:-cpu} extras=${3:-minilm} editable=${4:-}
case $build in cpu | gpu) ;; *)
    echo "The second argument is '$build'; expected cpu or gpu" >&2
    exit 1
    ;;
esac
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
cd "$(dirname "$0")/.."
"$python" -c 'import sys; sys.exit(0 if sys.prefix != sys.base_prefix else
    "This is no virtual environment: make one first (python3 -m venv .venv), and name its Python")'
# Against the pins of label-studio-ml, as said below: pip would warn of them.
install() { "$python" -m pip --disable-pip-version-check install -qq --no-warn-conflicts "$@"; }

sh .ci/install_torch.sh "$python" "$(cat .ci/torch_version.txt)" "$build"
echo "Installing the project"
install -c .ci/constraints.txt ${editable:+"$editable"} ".[$extras]"
# label-studio-ml pins a Flask of 2020 with its Werkzeug, Jinja2 and itsdangerous, which have known
# security holes. It runs on the current ones, so these are upgraded last.
install -r .ci/upgraded_last.txt
