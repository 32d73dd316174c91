"""The walk-through as it is committed: executed, small, and silent about the machine."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "notebooks" / "walkthrough.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
OUTPUTS = [output for cell in CODE for output in cell["outputs"]]


def test_it_was_run_from_the_top() -> None:
    """Every cell once, in order, to its end."""
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert {output["output_type"] for output in OUTPUTS} <= {"stream", "display_data"}
    # A warning would be on stderr.
    assert {output.get("name", "stdout") for output in OUTPUTS} == {"stdout"}


def test_it_shows_what_it_does() -> None:
    """Cells that print have printed, cells that draw have drawn."""
    for cell in CODE:
        source = "".join(cell["source"])
        kinds = {output["output_type"] for output in cell["outputs"]}
        assert ("stream" in kinds) == ("print(" in source), source
        assert ("display_data" in kinds) == ("plt.show()" in source), source
    said = "".join("".join(output.get("text", "")) for output in OUTPUTS)
    for word in (
        "rewritten",
        "unchanged",
        "escalated",
        "not_screened",
        "[judge:dev@",
        "after the game",
    ):
        assert word in said, word


def test_it_is_small_and_names_no_folder_of_a_machine() -> None:
    assert NOTEBOOK.stat().st_size < 150_000
    text = "".join("".join(output.get("text", "")) for output in OUTPUTS)
    assert not re.search(r"/(home|root|work|tmp|Users|usr|opt)/|[A-Z]:\\", text)


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("notebook", ROOT / ".ci" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.filterwarnings("ignore")  # of the notebook's own machinery
def test_the_script_keeps_what_was_printed_and_stops_at_a_fault(tmp_path: Path) -> None:
    """CI executes notebooks by it."""
    path = tmp_path / "some.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in ("x = 20 + 1", "print(x * 2)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    _script().execute(path, write=True)
    assert nbformat.read(path, 4).cells[1].outputs[0].text == "42\n"
    cells.append(nbformat.v4.new_code_cell("y"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(Exception, match="NameError"):
        _script().execute(path, write=False)
