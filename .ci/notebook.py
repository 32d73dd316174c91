"""Execute a notebook from the top, as a reader would; with `--write`, keep what it printed.

What is kept tells nothing of the machine: no times, no paths, no version of its Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def execute(path: Path, *, write: bool) -> None:
    """Run every cell in one kernel, which ends with the first that fails."""
    # A kernel asks on a port of this machine; it should not also look for a home to write to.
    os.environ.setdefault("IPYTHONDIR", "/tmp/ipython")
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=3600, record_timing=False)
    client.execute(cwd=str(path.parent))
    notebook.metadata.language_info = {"name": "python"}
    if write:
        nbformat.write(notebook, path)


if __name__ == "__main__":
    given = [name for name in sys.argv[1:] if name != "--write"]
    try:
        for name in given:
            execute(Path(name), write="--write" in sys.argv)
    except CellExecutionError as error:
        sys.exit(f"a cell of {name} failed\n{error}")
