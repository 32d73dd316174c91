"""Run the code blocks of a Markdown file as a reader would: in order, from the top.

Blocks marked `bash` share one shell, which stops at the first command that fails; blocks marked
`python` are run by the `python` of that shell. A block right after a comment that starts with
`<!-- not run` is shown but not run. Other blocks are output or data.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<skip><!-- not run[^>]*-->\n+)?^```(?P<kind>bash|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def script_of(markdown: str) -> str:
    """One shell script out of all the blocks to run."""
    parts = ["set -eo pipefail"]
    for match in _BLOCK.finditer(markdown):
        if match["skip"]:
            continue
        code = match["code"].rstrip("\n")
        shown = code.replace("'", "'\\''")
        parts.append(f"printf '\\n--- README ---\\n%s\\n' '{shown}'")
        parts.append(
            code if match["kind"] == "bash" else f"python - <<'README_PY'\n{code}\nREADME_PY"
        )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    script = script_of(path.read_text(encoding="utf-8"))
    if "--- README ---" not in script:
        sys.exit(f"{path} has no block to run")
    done = subprocess.run(["bash", "-c", script], check=False)
    sys.exit(done.returncode and f"a block of {path} failed with exit code {done.returncode}")
