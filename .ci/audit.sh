#!/bin/sh
# audit.sh PYTHON PIP_AUDIT: ask for known vulnerabilities of all that we install.
# Status 0: none but those of audit_ignore.txt; 1: there are some; 2: nothing could be audited.
set -eu
cd "$(dirname "$0")"
python=$1 pip_audit=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pip-audit says "No known vulnerabilities found" also when the service knows no package at all.
# So it has to find what is known of an old release first.
echo "jinja2==2.4.1" >"$work/canary.txt"
service=none
for candidate in pypi osv; do
    "$pip_audit" --progress-spinner off --disable-pip --no-deps --vulnerability-service \
        "$candidate" -r "$work/canary.txt" >"$work/found.txt" 2>&1 || true
    if grep -q '^jinja2 ' "$work/found.txt" && ! grep -q 'could not be audited' "$work/found.txt"
    then
        service=$candidate
        break
    fi
done
if [ $service = none ]; then
    echo "NOTHING WAS AUDITED: neither PyPI's nor OSV's list of vulnerabilities can be reached." >&2
    exit 2
fi

audit() {
    "$pip_audit" --progress-spinner off --strict --disable-pip --no-deps \
        --vulnerability-service $service "$@"
}
"$python" dependencies.py list >"$work/ours.txt"
ignored=$(sed -n 's/^\([A-Z][A-Z0-9a-z-]*\) .*/--ignore-vuln \1/p' audit_ignore.txt)
echo "== What we choose"
status=0
# shellcheck disable=SC2086
audit $ignored -r "$work/ours.txt" || status=1
echo "== What Label Studio chooses, in an environment of its own (for information)"
audit -r label_studio.txt || true
exit $status
