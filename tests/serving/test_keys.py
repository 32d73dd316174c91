from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from tactful.errors import ConfigError
from tactful.serving.keys import given_key, load_keys
from tactful.serving.problems import Problem

ONE, TWO = "0123456789abcdef-one", "0123456789abcdef-two"


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """Comments and blank lines are skipped; a limit of its own stands behind the key."""
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\n\napp  {ONE}\nmods {TWO}  2/minute  # fewer\n")
    keys = load_keys(file, {"TACTFUL_KEYS": "other 0123456789abcdef"}, "600/minute")
    one, two = keys.find(ONE), keys.find(TWO)
    assert one is not None
    assert two is not None
    assert (one.name, str(one.limit)) == ("app", "600 per 1 minute")
    assert (two.name, str(two.limit)) == ("mods", "2 per 1 minute")
    for wrong in ("", "0123456789abcdef", ONE + " ", ONE.upper()):
        assert keys.find(wrong) is None


def test_keys_come_from_the_environment() -> None:
    """Without a file the variable is read; with neither there are no keys."""
    assert load_keys(None, {"TACTFUL_KEYS": f"app {ONE}\nmods {TWO}"}).find(TWO)
    assert not load_keys(None, {})


def test_all_faults_are_told_and_no_key_is(tmp_path: Path) -> None:
    """One error names every bad line, by name and number, never by key."""
    file = tmp_path / "keys"
    file.write_text(
        f"short abc\nlonely\na/b {ONE}\napp {ONE}\napp {TWO}\ntwin {ONE}\nfast {TWO} often\n"
    )
    with pytest.raises(ConfigError) as error:
        load_keys(file, {})
    told = str(error.value)
    for number, part in enumerate(
        ("has 3 characters", "NAME KEY", "a name is made", "", "stands twice", "same key", "600/"),
        1,
    ):
        assert (f"line {number}:" in told) is bool(part)
        assert part in told
    assert ONE not in told
    assert TWO not in told


def test_an_empty_file_is_a_fault(tmp_path: Path) -> None:
    """A file of keys without a key is a mistake, not an open door."""
    file = tmp_path / "keys"
    file.write_text("# nobody yet\n")
    with pytest.raises(ConfigError, match="no key"):
        load_keys(file, {})
    with pytest.raises(ConfigError, match="cannot read"):
        load_keys(tmp_path / "nothing", {})


def test_a_limit_counts_texts() -> None:
    """What is over the limit is a 429 that says when to come back; other keys are not touched."""
    keys = load_keys(None, {"TACTFUL_KEYS": f"app {ONE}\nmods {TWO} 5/minute"})
    app, mods = keys.find(ONE), keys.find(TWO)
    assert app is not None
    assert mods is not None
    keys.charge(mods, 4)
    with pytest.raises(Problem) as refused:
        keys.charge(mods, 2)
    assert refused.value.status == 429
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 61
    keys.charge(mods, 1)
    keys.charge(app, 1000)
    # What no window is wide enough for is another fault: to wait would not help.
    with pytest.raises(Problem, match="6 texts, and this key may ask 5 per 1 minute") as refused:
        keys.charge(mods, 5, paid=1)
    assert (refused.value.status, "Retry-After" in refused.value.headers) == (413, False)


def test_keys_are_found_where_clients_put_them() -> None:
    """In a header everywhere, in the address only where Perspective's clients need it."""
    basic = b"Basic " + b64encode(b"me:secret")
    for value, found in ((b"Bearer secret", "secret"), (basic, "secret"), (b"Basic ?", "")):
        assert given_key({b"authorization": value}, "/v1/score", b"") == found
    assert given_key({}, "/v1alpha1/comments:analyze", b"alt=json&key=secret") == "secret"
    assert given_key({b"x-goog-api-key": b"secret"}, "/v1alpha1/comments:analyze", b"") == "secret"
    assert given_key({}, "/v1/score", b"key=secret") == ""
    assert given_key({b"x-goog-api-key": b"secret"}, "/v1/score", b"") == ""
