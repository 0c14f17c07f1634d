#!/bin/sh
# make_venv.sh PYTHON FOLDER: make a virtual environment with pip, unless there is one that works.
set -eu
python=$1 folder=$2
if [ -z "$python" ]; then
    echo "No Python 3.11 or newer on the path: install one, or name it: make install PYTHON=..." >&2
    exit 1
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and
    f"{sys.executable} is Python {sys.version.split()[0]}; 3.11 or newer is needed: PYTHON=...")'
if "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi
echo "Making the virtual environment $folder with $("$python" --version)"
rm -rf "$folder"
# Debian and Ubuntu keep what venv needs to install pip in a package of its own (python3-venv).
# Without it the pip that is there installs another one into the new environment.
if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
    rm -rf "$folder"
    "$python" -m venv --without-pip "$folder"
    "$python" -m pip --python "$folder" --disable-pip-version-check install -qq pip
fi
