#!/bin/sh
# Print the path of a working Python that MyCity supports; called by the Makefile and .ci/run.
#
#   sh tools/python.sh              the best one on this machine
#   sh tools/python.sh python3.12   that one, or a sentence on stderr and exit 1
#
# It installs nothing. A pyenv shim that exists but refuses to run is looked through.

supported() { # $1 runs and is 3.11, 3.12 or 3.13
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

newer() { # $1 runs and is newer than what we test
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

answer() {
    "$1" -c 'import sys; print(sys.executable)'
    exit 0
}

wanted=$1
if [ -n "$wanted" ]; then
    supported "$wanted" && answer "$wanted"
    version=$(printf '%s' "$wanted" | sed -n 's/^python\(3\.[0-9][0-9]*\)$/\1/p')
    if [ -n "$version" ]; then
        for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
            supported "$found" && answer "$found"
        done
    fi
    newer "$wanted" && answer "$wanted"
    echo "MyCity: '$wanted' is not a Python 3.11, 3.12 or 3.13 that runs here; install one or name another with PYTHON=." >&2
    exit 1
fi

for candidate in python3 python3.13 python3.12 python3.11; do
    supported "$candidate" && answer "$candidate"
done
for candidate in python3 python3.14; do
    newer "$candidate" && answer "$candidate"
done
echo "MyCity needs Python 3.11, 3.12 or 3.13 and found none; install one (Debian: apt-get install python3 python3-venv python3-dev; macOS: brew install python@3.13) and run make again." >&2
exit 1
