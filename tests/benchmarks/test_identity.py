"""Content hashes: equal meaning, equal id; anything doubtful is an error."""

from __future__ import annotations

import hashlib

import pytest

from veilbench.benchmarks.engine.identity import canonical, fingerprint, readable_id


def test_order_of_keys_and_kind_of_sequence_do_not_matter() -> None:
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1, 2], "a": 1})


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": 1.5}, {"a": None}, {"a": [1]}, {"a": True}, {"b": 1}])
def test_different_content_differs(other: dict[str, object]) -> None:
    assert fingerprint({"a": 1}) != fingerprint(other)


def test_the_hash_is_of_compact_sorted_json() -> None:
    """Fixed by hand, so that stored results keep their names across versions and machines."""
    assert (
        fingerprint({"b": [1, 0.5, None], "a": "x"}) == hashlib.sha256(b'{"a":"x","b":[1,0.5,null]}').hexdigest()[:12]
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 2}, {"a": {1, 2}}])
def test_what_has_no_exact_meaning_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


def test_ids_are_readable_and_safe() -> None:
    name = readable_id(["pgd", "", "a b/c", "not_x"], {"a": 1})
    assert name == f"pgd-a_b_c-not_x-{fingerprint({'a': 1})}"
