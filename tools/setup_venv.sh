#!/bin/sh
# Makes .venv and installs the project into it, or says in one line why not. Called by the Makefile.
set -eu

fail() { echo "error: $1" >&2; exit 1; }

# A name on the PATH is not yet a Python that runs (pyenv shims, app-store stubs), so ask it.
recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if ! { recent .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    python=
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && recent "$candidate"; then python=$candidate; break; fi
    done
    [ -n "$python" ] || fail "no Python >= 3.11 found; install one, or name it: make PYTHON=/path/to/python3 ..."
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv"
    echo "Creating .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || fail "could not create .venv"
fi

echo "Installing the project into .venv (the first time this downloads several gigabytes)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[book,dev]' ||
    fail "the installation did not finish; run make again to retry"
