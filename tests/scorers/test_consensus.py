import pytest

from tactful.scorers.consensus import consensus


def test_consensus_by_hand() -> None:
    """ "a b" has the pieces a, b and "a b"; "a c" shares one of its three: 2 * 1 / 6."""
    found = consensus(["a b", "a b", "a c"])
    assert found == pytest.approx([(1 + 1 + 1 / 3) / 3] * 2 + [(1 / 3 + 1 / 3 + 1) / 3])
    assert consensus([]) == []
    assert consensus(["x"]) == [1.0]
