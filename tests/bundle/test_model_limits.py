import dataclasses
import json

import pytest

from semise_sdk.bundle import MANIFEST, Bundle
from semise_sdk.bundle.manifest import BundleManifest
from semise_sdk.bundle.model_limits import check_model, check_text
from semise_sdk.errors import BundleError
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig

MODEL = ModelInfo(
    name="toy",
    spec=InputSpec(height=32, width=32),
    labels=("healthy", "severe"),
    network=NetworkConfig(
        encoder="tf_efficientnet_lite0.in1k",
        feature_dim=3,
        vector_dim=3,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        classes=2,
        decoder_channels=(8,),
    ),
)
NAN, HUGE = float("nan"), 10**400


def changed(**fields) -> ModelInfo:
    own = {key: value for key, value in fields.items() if key in ModelInfo.__dataclass_fields__}
    inner = {key: value for key, value in fields.items() if key not in own}
    # as they come out of JSON, past the checks of the constructor
    network = dataclasses.replace(MODEL.network)
    for key, value in inner.items():
        object.__setattr__(network, key, value)
    return dataclasses.replace(MODEL, network=network, **own)


def test_an_honest_model_passes():
    check_model(MODEL)
    check_model(changed(decoder_channels=(), classes=0, classifier_hidden=(1, 1)))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "bad\nname"}, {"name": "\u202efdp"}, {"name": "\ud800"}, {"name": "x" * 201}, {"name": 3},
        {"labels": ("a", "a")}, {"labels": ("a\x1b[31m", "b")}, {"labels": tuple(map(str, range(1001)))},
        {"reference_mode": "best"}, {"reference_mode": None},
        {"mask_threshold": NAN}, {"mask_threshold": 1.5}, {"mask_threshold": "0.5"}, {"mask_threshold": True},
        {"encoder": "hf-hub:someone/model"}, {"encoder": "local-dir:/tmp"}, {"encoder": "../resnet"}, {"encoder": ""},
        {"encoder": None}, {"encoder": "a" * 300}, {"residual_head": "no"},
        {"mean": (0.0, NAN, 0.0)}, {"mean": ("a", "b", "c")}, {"std": (1.0, 1.0, float("inf"))}, {"std": (0.0,) * 3},
        {"feature_dim": 0}, {"feature_dim": 10**9}, {"vector_dim": HUGE}, {"vector_dim": -1}, {"vector_dim": True},
        {"classifier_hidden": (10**9, 10**9)}, {"classifier_hidden": (4,)}, {"classifier_hidden": "ab"},
        {"classifier_hidden": (4, 4.5)}, {"decoder_channels": (8,) * 11}, {"decoder_channels": 8},
        {"decoder_channels": (0,)}, {"classes": -1}, {"classes": 5000}, {"classes": True},
    ],
)  # fmt: skip
def test_what_no_model_has_is_refused_in_one_sentence(fields):
    with pytest.raises(BundleError, match=r"^expected ") as caught:
        check_model(changed(**fields))
    assert str(caught.value).isprintable()


def test_text_that_cannot_be_shown_is_refused():
    assert check_text("name", "Ödem, 3. Grad") == "Ödem, 3. Grad"
    with pytest.raises(BundleError, match="printable text of at most 5 characters, found 6 characters, '123456'"):
        check_text("name", "123456", most=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": 1, "schema": 1}', "a key twice"),
        ('{"format": NaN}', "NaN, which is no JSON"),
        ('{"a": {"b": 1, "b": 2}}', "a key twice"),
        ('{"a": -Infinity}', "no JSON"),
    ],
)
def test_a_manifest_is_strict_json(text, said):
    with pytest.raises(BundleError, match=said):
        BundleManifest.from_json(text)


VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "\x00",
    "../../x",
    [],
    [[]],
    {},
    {"a": 1},
    "\ud800",
    [1, "x"],
    "N" * 5000,
)


def leaves(data: object, path: tuple[object, ...] = ()):
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def with_leaf(text: str, path: tuple[object, ...], value: object) -> str:
    if not path:
        return json.dumps(value)
    data = json.loads(text)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(data)


def test_whatever_stands_in_a_manifest_is_a_bundle_or_a_bundle_error(write_colour_bundle, tmp_path):
    """Every value of a manifest, replaced by others in turn: nothing but BundleError comes out of opening it."""
    folder = write_colour_bundle(tmp_path / "bundle")
    text = (folder / MANIFEST).read_text()
    opened, refused = 0, []
    for index, path in enumerate(leaves(json.loads(text))):
        for value in VALUES[index % 5 :: 5]:
            (folder / MANIFEST).write_text(with_leaf(text, path, value))
            try:
                with Bundle.open(folder) as bundle:
                    for name in ("encoder", "classifier", "unet"):
                        bundle.graph(name).read()
                    bundle.references()
                opened += 1
            except BundleError as error:
                refused.append(str(error))
    assert len(refused) > 300
    assert opened < 0.2 * len(refused)
    assert max(map(len, refused)) < 10_000
