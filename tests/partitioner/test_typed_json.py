"""Values that do not have their type: the message says where, what was expected, what is there."""

from __future__ import annotations

import doctest
import math
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pytest

import pimloop.partitioner.typed_json as typed_json
from pimloop.partitioner.typed_json import Count, JsonError, Number, Positive, Us, check


class Part(TypedDict):
    us: Us
    kind: NotRequired[Literal["node", "transfer"] | None]
    pair: NotRequired[Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]]


class Whole(TypedDict):
    parts: dict[str, list[Part]]
    by_name: dict[str, dict[str, Count]]
    error: NotRequired[Number | None]
    rate: NotRequired[Positive | None]
    part: NotRequired[Part | None]


def whole(**more: Any) -> dict[str, Any]:
    """Return a value of the type, a hundred keys in each mapping."""
    names = [f"n.{i}" for i in range(100)]
    return {
        "parts": {name: [{"us": 0.5}, {"us": 2}] for name in names},
        "by_name": {name: dict.fromkeys(names, 1) for name in names},
        "later": [None],
        **more,
    }


def test_a_value_of_the_type_is_returned_as_it_is() -> None:
    value = whole(error=None, rate=1e-9, part={"us": 1, "kind": "node", "pair": ["a", "b"]})
    assert check(value, Whole) is value


@pytest.mark.parametrize("name", ["n.0", "n.37", "n.99"])
@pytest.mark.parametrize("wrong", [-1, "1", None, 1.5, True, [], {}, 10**400])
def test_the_key_of_a_mapping_is_found(name: str, wrong: Any) -> None:
    value = whole()
    value["by_name"]["n.64"][name] = wrong
    with pytest.raises(JsonError) as error:
        check(value, Whole)
    assert error.value.place == ("by_name", "n.64", name)
    assert str(error.value).startswith(f'by_name["n.64"]["{name}"] must be a ')


def test_of_two_faults_one_is_named() -> None:
    value = whole()
    value["parts"]["n.8"][1]["us"] = "x"
    value["by_name"]["n.1"]["n.2"] = "y"
    value["parts"]["n.90"] = None
    with pytest.raises(JsonError) as error:
        check(value, Whole)
    assert str(error.value) == 'parts["n.8"][1].us must be a number, not "x"'


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": []}, "parts must be an object, not a list"),
        ({"parts": {"a": {}}}, "parts.a must be a list, not an object"),
        ({"parts": {"a": [{}]}}, "the key parts.a[0].us is missing"),
        ({"error": math.inf}, "error must be a number of at most 1e+18, not Infinity"),
        ({"error": -math.inf}, "error must be a number at least -1e+18, not -Infinity"),
        ({"error": math.nan}, "error must be a number at least -1e+18, not NaN"),
        ({"rate": 0}, "rate must be a number above 0, not 0"),
        ({"part": 3}, "part must be an object, not 3"),
        ({"part": {"us": 1, "kind": "x"}}, 'part.kind must be "node" or "transfer", not "x"'),
        ({"part": {"us": 1, "kind": 3}}, "part.kind must be text, not 3"),
        (
            {"part": {"us": 1, "pair": ["a"]}},
            "part.pair must be a list of length at least 2, not a list",
        ),
    ],
)
def test_the_message_says_what_was_expected(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(JsonError) as error:
        check(whole(**changed), Whole)
    assert str(error.value).startswith(message)


def test_a_missing_file_part_is_named_and_the_whole_file_too() -> None:
    with pytest.raises(JsonError, match="the key by_name is missing"):
        check({"parts": {}}, Whole)
    with pytest.raises(JsonError, match="the file must be an object, not 3"):
        check(3, Whole)


def test_a_whole_number_may_have_a_point() -> None:
    value = whole(error=2.5)
    value["by_name"]["n.0"]["n.0"] = 3.0
    read = check(value, Whole)
    assert read["by_name"]["n.0"]["n.0"] == 3
    assert isinstance(read["by_name"]["n.0"]["n.0"], int)
    assert read["error"] == 2.5


def test_doctests() -> None:
    results = doctest.testmod(typed_json)
    assert results.attempted >= 3
    assert results.failed == 0


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(JsonError, match="half a surrogate pair"):
        check(whole(part={"us": 1, "kind": "\ud800"}), Whole)
