"""A screener by its folder, whatever kind it is."""

from __future__ import annotations

from pathlib import Path

from tactful.screeners.base import Screener


def load_screener(folder: Path | None) -> Screener:
    """The screener that ships, or one of the user's own."""
    if folder is not None and (folder / "model.safetensors").is_file():
        # Imported here: it brings torch, which whoever only scores does without.
        from tactful.screeners.transformer import TransformerScreener

        return TransformerScreener.load(folder)
    from tactful.screeners.linear import LinearScreener

    return LinearScreener.load(folder)
