#!/usr/bin/env bash
# neurogym 2.3.1 (the newest in November 2026) allows numpy 2.2, gymnasium 0.29 and matplotlib 3.10 alone. Installed beside
# newer ones it takes them back to these, and together with gymnasium 1.0 or newer it cannot be installed at all.
#
# Seen with Python 3.11 and pip's resolver: "alone: gymnasium 0.29.1, numpy 2.2.6; beside gymnasium 1.4.0: no solution".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
resolve() {
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --dry-run --report "$folder/$1.json" \
        "${@:2}" 2>"$folder/$1.err"
}
resolve alone neurogym==2.3.1
if resolve both neurogym==2.3.1 gymnasium==1.4.0; then
    together="found"
else
    grep -q "ResolutionImpossible" "$folder/both.err"
    together="no solution"
fi
"$folder/venv/bin/python" - "$folder/alone.json" "$together" <<'PYTHON'
import json
import sys

report = json.load(open(sys.argv[1]))
found = {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in report["install"]}
gymnasium, numpy, together = found["gymnasium"], found["numpy"], sys.argv[2]
print(f"alone: gymnasium {gymnasium}, numpy {numpy}; beside gymnasium 1.4.0: {together}")
held = gymnasium.startswith("0.29.") and numpy.startswith("2.2.")
sys.exit(0 if held and together == "no solution" else 1)
PYTHON
