"""Calibrating a bundle on a site's own images: what is refused, what is written, and what the new bundle says."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from semise_sdk.bundle import Bundle, pack, write_manifest
from semise_sdk.calibration import CALIBRATION, CALIBRATION_TENSORS, TRAINING_IMAGES
from semise_sdk.demo.phantoms import draw_phantom
from semise_sdk.errors import BundleError, ConfigError, DataError, ReferenceImageError
from semise_sdk.predictor import Predictor
from semise_sdk.workflows.calibrate import (
    HeldOutImage,
    calibrate,
    default_place,
    observe,
    training_hashes,
    write_recalibrated,
)
from semise_training.data.manifest import load_manifest


def held_out(manifest):
    samples = load_manifest(manifest).samples
    return [HeldOutImage(image=one.image, level=one.severity, group=one.group) for one in samples]


def bare(bundle):
    return Predictor.open(bundle, backend="onnxruntime", threads=1, calibrated=False)


def observed(bundle, images, known=frozenset()):
    with bare(bundle) as predictor:
        rows = predictor.iter_observed([one.image for one in images])
        found = observe(predictor, images, rows=rows, known=known)
        return found, calibrate(predictor, found, source="a test")


def test_the_new_bundle_is_the_old_one_but_for_its_calibration(tiny_bundle, calibrated_bundle):
    with Bundle.open(tiny_bundle) as old, Bundle.open(calibrated_bundle) as new:
        changed = {name for name, sha in new.manifest.files.items() if old.manifest.files.get(name) != sha}
        assert changed == {CALIBRATION, CALIBRATION_TENSORS, "MODEL_CARD.md"}
        card = new.read("MODEL_CARD.md").decode()
        assert card.startswith(old.read("MODEL_CARD.md").decode())
        assert card.count("- gates: ") == 2
        assert "\n- gates: quality and distance\n" in card.split("## Recalibrated")[1]
        assert set(new.manifest.files) == set(old.manifest.files)
        assert (new.model, new.manifest.graphs, new.manifest.parity) == (
            old.model, old.manifest.graphs, old.manifest.parity
        )  # fmt: skip
        assert new.manifest.provenance["calibration"] == new.calibration().facts()
        assert not old.calibration().is_calibrated
        assert new.calibration().is_calibrated
        assert new.calibration().images == 150


def test_calibrated_answers_are_the_bare_ones_held_against_the_site(calibrated_bundle):
    images = [draw_phantom(index % 5, seed=900 + index, size=64).image for index in range(30)]
    with bare(calibrated_bundle) as predictor:
        plain = list(predictor.iter_severity(images))
    with Predictor.open(calibrated_bundle, backend="onnxruntime", threads=1) as predictor:
        answers, labels = list(predictor.iter_severity(images)), predictor.model.labels
        calibration = predictor.calibration
        healthy = calibration.healthy.severities
        classified, analyzed = predictor.classify(images), predictor.analyze(images)
    assert {one.status for one in plain} == {"ok"}
    assert all((one.grade_set, one.percentile) == ((), None) for one in plain)
    for before, after, grade, analysis in zip(plain, answers, classified, analyzed, strict=True):
        if after.status == "abstain":
            continue
        assert after.severity == before.severity
        share = (healthy < after.severity).mean() / 2 + (healthy <= after.severity).mean() / 2
        assert after.percentile == pytest.approx(100 * share)
        assert after.probabilities == pytest.approx(
            calibration.sets.probabilities(np.array(before.probabilities)).tolist()
        )
        places = [labels.index(label) for label in after.grade_set]
        assert places == list(range(places[0], places[-1] + 1))
        assert (grade.grade_set, grade.status, grade.label) == (after.grade_set, after.status, after.grade)
        assert (analysis.grade_set, analysis.percentile, analysis.status) == (
            after.grade_set, after.percentile, after.status
        )  # fmt: skip


def test_a_percentile_is_of_the_reference_that_was_measured_from(calibrated_bundle):
    image, other = (draw_phantom(severity, seed=77, size=64).image for severity in (3, 0))
    with Predictor.open(calibrated_bundle, backend="onnxruntime", threads=1) as predictor:
        bank = predictor.reference_bank(other)
        (by_own,), (by_other,) = predictor.iter_severity(image), predictor.iter_severity(image, reference=bank)
        severities = bank.severity(predictor.calibration.healthy.vectors)
    assert by_own.severity != by_other.severity
    assert by_other.percentile == pytest.approx(100 * (severities < by_other.severity).mean())


def test_of_an_older_bundle_only_its_own_reference_has_percentiles(tiny_bundle, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(tiny_bundle, old)
    (old / CALIBRATION_TENSORS).unlink()
    severities = np.linspace(0, 1.9, 40).tolist()
    (old / CALIBRATION).write_text(json.dumps({"schema": 1, "source": "val", "n": 40, "healthy_severity": severities}))
    with Bundle.open(tiny_bundle) as opened:
        write_manifest(old, model=opened.model, graphs=opened.manifest.graphs)
    image = draw_phantom(2, seed=5, size=64).image
    with Predictor.open(old, backend="onnxruntime", threads=1) as predictor:
        (own,), (black,) = predictor.iter_severity(image), predictor.iter_severity(np.zeros((64, 64), np.uint8))
        (other,) = predictor.iter_severity(image, reference=draw_phantom(0, seed=6, size=64).image)
    assert (own.status, own.grade_set) == ("ok", ())
    assert 0 <= own.percentile <= 100
    assert other.percentile is None
    assert black.status == "ok"  # it has no gates


def test_a_bundle_without_calibration_answers_without(tiny_bundle, tmp_path):
    bare_bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bare_bundle)
    for name in (CALIBRATION, CALIBRATION_TENSORS):
        (bare_bundle / name).unlink()
    with Bundle.open(tiny_bundle) as opened:
        write_manifest(bare_bundle, model=opened.model, graphs=opened.manifest.graphs)
    with Predictor.open(bare_bundle, backend="onnxruntime", threads=1) as predictor:
        assert predictor.calibration is None
        (row,) = predictor.rank(draw_phantom(2, seed=5, size=64).image).rows
    assert (row.status, row.rank, row.grade_set, row.percentile) == ("ok", 1, (), None)


def test_a_reference_that_a_gate_refuses_is_no_reference(calibrated_bundle):
    with (
        Predictor.open(calibrated_bundle, backend="onnxruntime", threads=1) as predictor,
        pytest.raises(ReferenceImageError, match="unusable: quality_constant: expected a picture"),
    ):
        predictor.reference_bank(np.zeros((64, 64), np.uint8))


def test_training_images_are_refused_with_their_groups(tiny_bundle, tiny_run, phantoms):
    with Bundle.open(tiny_bundle) as opened:
        known = training_hashes(opened)
    assert known
    images = held_out(phantoms)
    split = {line.split(",")[0]: line.rsplit(",", 1)[1] for line in (tiny_run / "split.csv").read_text().splitlines()}
    with pytest.raises(DataError) as caught:
        observed(tiny_bundle, images, known)
    trained = [one for one in images if split[str(one.image.relative_to(phantoms.parent))] == "train"]
    assert len(caught.value.problems) == len(trained)
    assert f"found {len(trained)} of its training images" in str(caught.value)
    assert "leave out their whole groups" in str(caught.value)
    fresh = [one for one in images if one not in trained]
    assert len(observed(tiny_bundle, fresh, known)[0]) == len(fresh)


def test_what_cannot_be_read_or_graded_is_listed(tiny_bundle, site, tmp_path):
    images = held_out(site)[:3]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match="found 1 that it cannot") as caught:
        observed(tiny_bundle, [*images, HeldOutImage(image=broken, level=0, group="x")])
    assert caught.value.problems[0].startswith(f"{broken}: not_an_image: ")
    with pytest.raises(DataError, match="expected held-out images to calibrate on, found none"):
        observed(tiny_bundle, [])
    with pytest.raises(DataError, match="expected severity levels 0 to 4, found 5"):
        observed(tiny_bundle, [HeldOutImage(image=images[0].image, level=5, group="x")])


def test_an_image_that_the_encoder_sees_nothing_in_is_listed(tiny_bundle, site):
    images = held_out(site)[:2]
    with bare(tiny_bundle) as predictor:
        rows = list(predictor.iter_observed([one.image for one in images]))
        rows[1] = dataclasses.replace(rows[1], embedding=np.zeros_like(rows[1].embedding))
        with pytest.raises(DataError, match="found 1 that it cannot") as caught:
            observe(predictor, images, rows=rows)
    assert caught.value.problems[0].startswith(f"{images[1].image}: no_answer: ")


def test_an_old_bundle_is_never_touched(tiny_bundle, site, tmp_path):
    before = {path: path.read_bytes() for path in sorted(tiny_bundle.rglob("*")) if path.is_file()}
    _, found = observed(tiny_bundle, held_out(site)[:20])
    with Bundle.open(tiny_bundle) as opened:
        for place in (tiny_bundle, tmp_path):
            with pytest.raises(ConfigError, match="expected a new place for the calibrated bundle"):
                write_recalibrated(opened, found, place)
        altered = tmp_path / "altered"
        shutil.copytree(tiny_bundle, altered)
    with Bundle.open(altered) as opened:
        (altered / "weights.safetensors").write_bytes(b"other")
        with pytest.raises(BundleError, match="altered or damaged"):
            write_recalibrated(opened, found, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["altered"]  # not even half a bundle
    assert before == {path: path.read_bytes() for path in sorted(tiny_bundle.rglob("*")) if path.is_file()}


def test_a_packed_bundle_gives_a_packed_one(tiny_bundle, site, tmp_path):
    pack(tiny_bundle, tmp_path / "tiny.semise")
    place = default_place(tmp_path / "tiny.semise")
    assert place.name == "tiny-calibrated.semise"
    assert default_place(tiny_bundle).name == "bundle-calibrated"
    _, found = observed(tiny_bundle, held_out(site)[:20])
    with Bundle.open(tmp_path / "tiny.semise") as opened:
        write_recalibrated(opened, found, place)
    with Bundle.open(place) as opened:
        assert opened.calibration().images == 20


def test_a_damaged_calibration_is_refused_when_the_predictor_opens(calibrated_bundle, tmp_path):
    damaged = tmp_path / "bundle"
    shutil.copytree(calibrated_bundle, damaged)
    (damaged / CALIBRATION).write_text("{}")
    with Bundle.open(calibrated_bundle) as opened:
        write_manifest(damaged, model=opened.model, graphs=opened.manifest.graphs)
    with pytest.raises(
        BundleError, match=r"expected schema in calibration\.json to be given, found none: update semise-sdk"
    ):
        Predictor.open(damaged, backend="onnxruntime")
    (damaged / TRAINING_IMAGES).write_bytes(b"")
    with Bundle.open(calibrated_bundle) as opened:
        write_manifest(damaged, model=opened.model, graphs=opened.manifest.graphs)
    with Bundle.open(damaged) as opened, pytest.raises(BundleError, match="expected hashes"):
        training_hashes(opened)
