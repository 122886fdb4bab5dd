"""What a model expects survives JSON unchanged, and a wrong expectation is said in one sentence."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semise_sdk.errors import SpecError
from semise_sdk.spec import DicomPolicy, InputSpec, Intensity, ModelInfo, NetworkConfig

NETWORK = NetworkConfig(
    encoder="resnet18",
    feature_dim=512,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    classes=3,
    decoder_channels=(256, 128, 64),
)
MODEL = ModelInfo(
    name="busi",
    spec=InputSpec(height=224, width=192, intensity="window(40,400)", colour="grey", pad_value=7),
    labels=("normal", "benign", "malignant"),
    network=NETWORK,
    reference_mode="median",
    mask_threshold=0.4,
)


class TestIntensity:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("full_range", Intensity("full_range")),
            ("dicom_voi", Intensity("dicom_voi")),
            ("window(40,400)", Intensity("window", 40, 400)),
            (" window( -600 , 1500.5 ) ", Intensity("window", -600, 1500.5)),
            ("percentile(0,100)", Intensity("percentile", 0, 100)),
            ("percentile(0.5, 99.5)", Intensity("percentile", 0.5, 99.5)),
        ],
    )
    def test_known_policies(self, text: str, expected: Intensity) -> None:
        assert Intensity.parse(text) == expected
        assert Intensity.parse(str(expected)) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "auto",
            "full_range(0,1)",
            "dicom_voi(1,2)",
            "window",
            "window()",
            "window(1)",
            "window(1,2,3)",
            "window(a,b)",
            "window(40,0)",
            "window(40,-1)",
            "window(40,nan)",
            "percentile(5,5)",
            "percentile(-1,99)",
            "percentile(1,101)",
            "percentile(99,1)",
            "Window(40,400)",
            "window(40,400)x",
        ],
    )
    def test_other_policies_are_refused(self, text: str) -> None:
        with pytest.raises(SpecError, match="expected"):
            Intensity.parse(text)
        with pytest.raises(SpecError):
            InputSpec(height=64, width=64, intensity=text)

    @given(st.integers(-30000, 30000), st.integers(1, 60000))
    def test_windows_survive_text(self, center: int, width: int) -> None:
        policy = Intensity("window", center, width)
        assert Intensity.parse(str(policy)) == policy


class TestInputSpec:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"height": 15},
            {"width": 4097},
            {"pad_value": -1},
            {"pad_value": 256},
            {"fit": "crop"},
            {"interpolation": "nearest"},
            {"colour": "bgr"},
        ],
    )
    def test_wrong_values_are_named(self, wrong: dict[str, object]) -> None:
        fields = {"height": 64, "width": 64} | wrong
        with pytest.raises(SpecError, match=r"expected .*found"):
            InputSpec(**fields)  # type: ignore[arg-type]

    def test_fingerprints_tell_specs_apart(self) -> None:
        base = InputSpec(height=224, width=224)
        others = [
            dataclasses.replace(base, height=225),
            dataclasses.replace(base, width=225),
            dataclasses.replace(base, fit="stretch"),
            dataclasses.replace(base, interpolation="box"),
            dataclasses.replace(base, intensity="percentile(1,99)"),
            dataclasses.replace(base, colour="grey"),
            dataclasses.replace(base, pad_value=1),
            dataclasses.replace(base, dicom=DicomPolicy(frames="middle")),
        ]
        assert base.fingerprint() == InputSpec(width=224, height=224).fingerprint()
        assert len({spec.fingerprint() for spec in [base, *others]}) == 1 + len(others)
        assert len(dataclasses.fields(InputSpec)) == len(others)

    def test_the_fingerprint_is_stable_across_versions(self) -> None:
        """Caches and bundles hold it: a change of these digits is a change of format."""
        assert InputSpec(height=224, width=224).fingerprint() == (
            "8bf63431fe4d31fcaa29141ab52c0683d15134c67ba9a67e2d46953555280248"
        )


class TestDicomPolicy:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"sop_classes": ()},
            {"sop_classes": "MG"},
            {"sop_classes": ("CT",)},
            {"sop_classes": (3,)},
            {"frames": "last"},
            {"burned_in": "maybe"},
            {"for_processing": ""},
            {"laterality": "L"},
        ],
    )
    def test_wrong_values_are_named(self, wrong: dict[str, object]) -> None:
        with pytest.raises(SpecError, match=r"expected .*found"):
            DicomPolicy(**wrong)  # type: ignore[arg-type]

    def test_families_and_uids_may_be_mixed(self) -> None:
        assert DicomPolicy(sop_classes=("MG", "1.2.840.10008.5.1.4.1.1.2", "any")).frames == "first"


class TestModelInfo:
    def test_json_round_trip(self) -> None:
        text = json.dumps(MODEL.to_json())
        restored = ModelInfo.from_json(json.loads(text))
        assert restored == MODEL
        assert restored.spec.fingerprint() == MODEL.spec.fingerprint()
        assert isinstance(restored.labels, tuple)
        assert isinstance(restored.network.mean, tuple)
        assert hash(restored) == hash(MODEL)

    def test_a_manifest_from_before_there_was_a_dicom_policy_is_read(self) -> None:
        data = json.loads(json.dumps(MODEL.to_json()))
        del data["spec"]["dicom"]
        assert ModelInfo.from_json(data) == MODEL

    def test_the_dicom_policy_travels_with_the_model(self) -> None:
        policy = DicomPolicy(sop_classes=("MG", "1.2.3"), frames="fail", burned_in="refuse", for_processing="accept")
        model = dataclasses.replace(MODEL, spec=dataclasses.replace(MODEL.spec, dicom=policy))
        restored = ModelInfo.from_json(json.loads(json.dumps(model.to_json())))
        assert restored == model
        assert restored.spec.fingerprint() == model.spec.fingerprint() != MODEL.spec.fingerprint()
        with pytest.raises(
            SpecError, match=r"model\.spec\.dicom to have the fields of this version, found unknown 'crop'"
        ):
            ModelInfo.from_json(MODEL.to_json() | {"spec": {"height": 64, "width": 64, "dicom": {"crop": 1}}})

    def test_defaults_may_be_left_out(self) -> None:
        data = MODEL.to_json()
        del data["reference_mode"], data["mask_threshold"]
        restored = ModelInfo.from_json(data)
        assert (restored.reference_mode, restored.mask_threshold) == ("mean", 0.5)

    @pytest.mark.parametrize("data", [None, [], "model", 3])
    def test_data_that_is_no_object(self, data: object) -> None:
        with pytest.raises(SpecError, match="expected model to be an object, found"):
            ModelInfo.from_json(data)

    @pytest.mark.parametrize("part", ["spec", "network"])
    def test_a_part_that_is_no_object(self, part: str) -> None:
        with pytest.raises(SpecError, match=f"expected model.{part} to be an object, found 3"):
            ModelInfo.from_json(MODEL.to_json() | {part: 3})

    def test_missing_and_unknown_keys_are_named(self) -> None:
        data = MODEL.to_json()
        del data["labels"]
        with pytest.raises(
            SpecError, match="model to have the fields of this version, found missing labels and unknown 'colour'"
        ):
            ModelInfo.from_json(data | {"colour": "rgb"})

    def test_the_parts_are_checked_too(self) -> None:
        spec = dataclasses.asdict(MODEL.spec)
        with pytest.raises(SpecError, match=r"model\.spec to have the fields of this version, found unknown 'crop'"):
            ModelInfo.from_json(MODEL.to_json() | {"spec": spec | {"crop": 3}})
        with pytest.raises(SpecError, match="16 to 4096"):
            ModelInfo.from_json(MODEL.to_json() | {"spec": spec | {"height": 3}})

    def test_a_network_must_be_sound(self) -> None:
        for wrong in ({"projection": "x"}, {"reference_head": "x"}, {"std": (1.0, 0.0, 1.0)}):
            with pytest.raises(SpecError):
                dataclasses.replace(NETWORK, **wrong)  # type: ignore[arg-type]

    def test_what_a_model_can_do(self) -> None:
        assert (MODEL.has_classifier, MODEL.has_segmenter) == (True, True)
        bare = dataclasses.replace(MODEL, network=dataclasses.replace(NETWORK, classes=0, decoder_channels=()))
        assert (bare.has_classifier, bare.has_segmenter) == (False, False)
