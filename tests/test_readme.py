from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent
_SPEC = importlib.util.spec_from_file_location("readme", ROOT / ".ci" / "readme.py")
assert _SPEC is not None
assert _SPEC.loader is not None
readme = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(readme)


def test_blocks_are_run_in_order_but_marked_ones_are_not() -> None:
    """bash and python blocks run; output blocks and blocks marked `not run` do not."""
    script = readme.script_of(
        "```bash\necho one\n```\n\n<!-- not run: serves for ever -->\n```bash\nserve\n```\n"
        "```text\nshown\n```\n```python\nprint('two')\n```\n"
    )
    assert script.index("\necho one\n") < script.index("\nprint('two')\n")
    assert "serve" not in script
    assert "shown" not in script


def test_readme_has_blocks_to_run() -> None:
    """The README's commands are really among those that CI runs."""
    script = readme.script_of((ROOT / "README.md").read_text())
    assert "make demo" in script
    assert "tactful rewrite" in script
    assert "Rewriter.load()" in script
