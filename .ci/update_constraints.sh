#!/bin/sh
# update_constraints.sh PYTHON LABEL_STUDIO_PYTHON: pin what both environments hold, and check that
# each pin can be installed on every Python that we run on.
set -eu
cd "$(dirname "$0")"
python=$1 label_studio=$2
# These have no wheels at all, for no Python: pure Python, built where they are installed.
source_only=attr,django-ranged-fileresponse,drf-flex-fields,drf-generators,ordered-set

"$python" dependencies.py write
{
    echo "# What Label Studio needs, in its own environment. Written by \`make constraints\`."
    "$label_studio" -m pip --disable-pip-version-check freeze | grep '^[A-Za-z0-9._-]*=='
} >label_studio.txt

for version in 3.11 3.12 3.13; do
    for pins in constraints.txt upgraded_last.txt label_studio.txt; do
        echo "Looking for all of $pins for Python $version"
        "$python" -m pip --disable-pip-version-check install -qq --dry-run --no-deps \
            --target /nowhere --python-version "$version" \
            --only-binary=:all: --no-binary="$source_only" -r "$pins"
    done
done
