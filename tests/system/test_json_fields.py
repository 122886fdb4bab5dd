"""JSON from outside: what fits becomes typed fields, and everything else one sentence that says where it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pytest

from semise_sdk.errors import BundleError, SpecError
from semise_sdk.system.json_fields import JsonField, JsonSource, shown

SOURCE = JsonSource("limits.json", BundleError, "write it anew")
PRIVATE = JsonSource("the journal", BundleError, shows_values=False)


class Pair(NamedTuple):
    kind: str
    sides: tuple[int | str, ...]


@dataclass(frozen=True)
class Inner:
    low: float
    high: float | None = None

    def __post_init__(self) -> None:
        if self.high is not None and self.high < self.low:
            raise SpecError(f"expected high above low, found {self.high:g}")


@dataclass(frozen=True)
class Outer:
    name: str
    mode: Literal["mean", "median"]
    inner: Inner
    triple: tuple[float, float, float]
    pairs: Mapping[str, Pair]
    counts: list[int]
    anything: object = None
    is_on: bool = True


DATA: dict[str, object] = {
    "name": "a",
    "mode": "mean",
    "inner": {"low": 1},
    "triple": [1, 2.5, 3],
    "pairs": {"x": ["float32", ["N", 3]]},
    "counts": [1, 2],
    "anything": {"free": [None]},
}


def test_a_dataclass_is_read_as_its_types_say():
    found = JsonField(DATA, SOURCE).of(Outer)
    assert found == Outer(
        "a", "mean", Inner(1.0), (1.0, 2.5, 3.0), {"x": Pair("float32", ("N", 3))}, [1, 2], {"free": [None]}
    )
    assert isinstance(found.inner.low, float)
    assert isinstance(found.pairs["x"], Pair)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "expected name in limits.json to be a text, found 3"),
        ({"mode": "best"}, "expected mode in limits.json to be mean or median, found 'best'"),
        ({"mode": ["mean"]}, "expected mode in limits.json to be mean or median, found ['mean']"),
        ({"inner": {}}, "expected inner in limits.json to have the fields of this version, found missing low"),
        ({"inner": {"low": "x"}}, "expected inner.low in limits.json to be a number, found 'x'"),
        ({"inner": {"low": 10**400}}, "expected inner.low in limits.json to be a number, found 1000"),
        ({"inner": {"low": 1e999}}, "expected inner.low in limits.json to be a number, found inf"),
        ({"inner": {"low": 3, "high": 2}}, "inner in limits.json: expected high above low, found 2"),
        ({"inner": {"low": 3, "high": False}}, "expected inner.high in limits.json to be a number, found False"),
        ({"triple": [1, 2]}, "expected triple in limits.json to be a list of 3, found one of 2"),
        ({"triple": [1, 2, None]}, "expected triple[2] in limits.json to be a number, found None"),
        ({"pairs": []}, "expected pairs in limits.json to be an object, found []"),
        (
            {"pairs": {"a b": ["f", [1.5]]}},
            "expected pairs['a b'][1][0] in limits.json to be a whole number, found 1.5",
        ),
        ({"pairs": {"x": ["f"]}}, "expected pairs.x in limits.json to be a list of 2, found one of 1"),
        ({"counts": [1, True]}, "expected counts[1] in limits.json to be a whole number, found True"),
        ({"counts": [1, 2.0]}, "expected counts[1] in limits.json to be a whole number, found 2.0"),
        ({"is_on": 1}, "expected is_on in limits.json to be true or false, found 1"),
        ({"more": 1}, "expected limits.json to have the fields of this version, found unknown 'more'"),
    ],
)
def test_what_does_not_fit_is_one_sentence_that_says_where(change, said):
    with pytest.raises(BundleError, match=f"^{re.escape(said)}.*") as caught:
        JsonField({**DATA, **change}, SOURCE).of(Outer)
    assert str(caught.value).isprintable()


def test_ranges_choices_and_lists_are_closed():
    field = SOURCE.parse('{"share": 0.5, "count": 3, "schema": true, "sha": "ab", "list": [1]}')
    assert (field["share"].number(0, 1), field["count"].whole(0)) == (0.5, 3)
    assert field.get("absent", 7).whole() == 7
    assert field.only(("count",)).data() == {"count": 3}
    assert field.get("absent").optional(JsonField.text) is None
    wrong = {
        "share in limits.json to be a number of 2 to 3, found 0.5": lambda: field["share"].number(2, 3),
        "count in limits.json to be a whole number of 4 or more, found 3": lambda: field["count"].whole(4),
        "schema in limits.json to be 1, found True": lambda: field["schema"].choice(1),
        "sha in limits.json to be a sha256, found 'ab'": lambda: field["sha"].matching(
            re.compile("[0-9]+"), "a sha256"
        ),
        "list in limits.json to be a list of 2, found one of 1": lambda: field["list"].entries(2),
        "absent in limits.json to be given, found none": lambda: field["absent"],
        "count in limits.json to be an object, found 3": lambda: field["count"]["x"],
        "share in limits.json to be a list, found 0.5": field["share"].entries,
    }
    for said, read in wrong.items():
        with pytest.raises(BundleError, match=f"^{re.escape(f'expected {said}: write it anew')}$"):
            read()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found Expecting value"),
        (b"\xff\xfe\xfa", "found 'utf-"),
        ('{"a": 1, "a": 2}', "found a key twice in one object"),
        ("[NaN]", "found NaN, which is no JSON"),
        ("[" * 100_000, "found maximum recursion depth"),
        ("9" * 5000, "found Exceeds the limit"),
    ],
)
def test_what_is_no_strict_json_is_refused(text, said):
    with pytest.raises(BundleError, match=f"^expected limits.json to be JSON, {re.escape(said)}"):
        SOURCE.parse(text)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("DOE^JANE", "a text"), (3.5, "a number"), (True, "true or false"), (None, "null"), (["DOE"], "a list")],
)
def test_a_source_that_hides_values_tells_their_kind(value, kind):
    field = JsonField({"name": value}, PRIVATE)["name"]
    with pytest.raises(BundleError, match=f"^expected name in the journal to be an object, found {kind}$"):
        field.data()
    with pytest.raises(BundleError, match=r"found missing name and unknown 1$") as caught:
        JsonField({"DOE^JANE": 1}, PRIVATE).fields(("name",))
    assert "DOE" not in str(caught.value)


def test_what_is_shown_is_short_and_on_one_line():
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    for value in ("x" * 10**6, "a\nb\x1b[31m", list(range(1000)), {str(key): key for key in range(100)}, deep, 10**400):
        assert len(shown(value)) <= 80
        assert shown(value).isprintable()
