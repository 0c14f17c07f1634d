#!/bin/sh
# install_torch.sh PYTHON VERSION cpu|gpu: install PyTorch, without a gigabyte of CUDA for "cpu".
set -eu
python=$1 version=$2 build=$3
install() { "$python" -m pip --disable-pip-version-check install -qq "$@"; }

here=$("$python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null) ||
    here=none
if [ "$build" = gpu ]; then
    case $here in *+cpu) "$python" -m pip uninstall -qq -y torch ;; esac
    echo "Installing PyTorch $version with the CUDA of PyPI's build"
    install "torch==$version"
    exit 0
fi
case $here in "$version" | "$version+cpu") exit 0 ;; esac
echo "Installing PyTorch $version for the CPU"
install "torch==$version+cpu" 2>/dev/null && exit 0
# The usual case: PyPI has no CPU build for Linux, PyTorch's own index has.
install --retries 1 --timeout 60 --index-url https://download.pytorch.org/whl/cpu \
    "torch==$version" && exit 0
echo "PyTorch's own index is out of reach; installing the build with CUDA (a 3 GB download)"
install "torch==$version"
