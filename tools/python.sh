#!/bin/sh
# Print the path of a working Python that MyCity supports; called by the Makefile and .ci/run.
#
#   sh tools/python.sh              the best one on this machine
#   sh tools/python.sh python3.12   that one, or a sentence on stderr and exit 1
#
# It installs nothing. A pyenv shim that exists but refuses to run is looked through.

supported() { # print the path of $1 if it runs and is 3.11, 3.12 or 3.13; one start, each costs a moment
    "$1" -S -E -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); print(sys.executable) if ok else sys.exit(1)' 2>/dev/null
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
    supported "$wanted" && exit 0
    version=$(printf '%s' "$wanted" | sed -n 's/^python\(3\.[0-9][0-9]*\)$/\1/p')
    if [ -n "$version" ]; then
        for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
            supported "$found" && exit 0
        done
    fi
    newer "$wanted" && answer "$wanted"
    echo "MyCity: '$wanted' is not a Python 3.11, 3.12 or 3.13 that runs here; install one or name another with PYTHON=." >&2
    exit 1
fi

for candidate in python3 python3.13 python3.12 python3.11; do
    supported "$candidate" && exit 0
done
for candidate in python3 python3.14; do
    newer "$candidate" && answer "$candidate"
done
echo "MyCity needs Python 3.11, 3.12 or 3.13 and found none; install one (Debian: apt-get install python3 python3-venv python3-dev; macOS: brew install python@3.13) and run make again." >&2
exit 1
