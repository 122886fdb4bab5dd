"""Which cells a comparison has, and what makes two of them the same experiment."""

import copy
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from semise_sdk.errors import ConfigError
from semise_training.compare.cells.experiment import digest_of, is_same_experiment, portable
from semise_training.compare.cells.plan import Plan, Protocol
from semise_training.compare.cells.rows import parse_variant, refuse_planned, rows_of
from semise_training.data.manifest import Manifest, Sample


def plan(manifest="data.csv", **options):
    rows = options.pop("rows", rows_of(("majority", "semise"), (), with_fractions=bool(options.get("label_fractions"))))
    settings = {"data": {"manifest": manifest}, **options.pop("settings", {})}
    return Plan(rows=rows, settings=settings, **options)


def slugs(plan):
    return [cell.key.slug for cell in plan.cells()]


def test_folds_share_one_split_and_seeds_are_the_encoders():
    cells = plan(folds=3, seeds=2).cells()
    assert len(cells) == 3 * 2 * 2
    assert {cell.config.data.split_seed for cell in cells} == {0}
    assert {cell.config.seed for cell in cells} == {0, 1}
    assert [cell.key.fold for cell in cells] == sorted(cell.key.fold for cell in cells)


def test_without_folds_each_seed_has_its_own_random_split():
    cells = plan(seeds=3).cells()
    assert {(cell.config.seed, cell.config.data.split_seed) for cell in cells} == {(0, 0), (1, 1), (2, 2)}


def test_one_cell_can_be_asked_for_alone_and_is_the_same_cell():
    alone = plan(folds=5, only_fold=2, rows=rows_of(("semise",), (), with_fractions=False)).cells()
    assert [cell.key.slug for cell in alone] == ["semise-fold2of5-split0-seed0"]
    among = {cell.key: cell for cell in plan(folds=5).cells()}
    assert among[alone[0].key].asked("data") == alone[0].asked("data")


def test_alphas_are_cells_of_semise_alone_and_its_own_alpha_is_no_override():
    found = plan(seeds=1, alphas=(0.0, 0.1, 0.5)).cells()
    assert [(c.key.name, c.key.alpha, c.config.phase2.alpha) for c in found] == [
        ("majority", None, 0.1), ("semise", 0.0, 0.0), ("semise", None, 0.1), ("semise", 0.5, 0.5)
    ]  # fmt: skip


def test_fewer_labels_are_for_the_named_rows_and_bring_semise_without_unlabeled_images():
    found = {cell.key.slug: cell.config for cell in plan(seeds=1, label_fractions=(0.1,)).cells()}
    assert set(found) == {
        "majority-split0-seed0", "semise-split0-seed0", "semise-labeled-split0-seed0",
        "semise-labels0.1-split0-seed0", "semise-labeled-labels0.1-split0-seed0",
    }  # fmt: skip
    assert found["semise-labeled-labels0.1-split0-seed0"].phase2.ntxent.scope == "none"
    assert found["semise-labels0.1-split0-seed0"].data.label_fraction == 0.1
    assert found["semise-labels0.1-split0-seed0"].phase2.ntxent.scope == "unlabeled"


def manifest(*, severities=(0, 1), splits=(None,)):
    """A manifest of an image for each severity and each split."""
    samples = [
        Sample(row, Path(f"{row}.png"), severity, None, None, str(row), split)
        for row, (severity, split) in enumerate(itertools.product(severities, splits))
    ]
    return Manifest(Path("data.csv"), Path(), tuple(samples), ("healthy", "mild"))


def test_without_unlabeled_images_semise_stands_for_semise_labeled_at_all_labels():
    fewer = plan(seeds=1, label_fractions=(0.1, 1.0))
    full = {"majority-split0-seed0", "semise-split0-seed0"}
    small = {"semise-labels0.1-split0-seed0", "semise-labeled-labels0.1-split0-seed0"}
    assert {cell.key.slug for cell in fewer.cells(manifest())} == full | small
    some = fewer.cells(manifest(severities=(0, 1, None)))
    assert {cell.key.slug for cell in some} == full | small | {"semise-labeled-split0-seed0"}


def test_a_curve_of_labels_ends_at_the_rows_own_alpha_whatever_alphas_are_asked_for():
    found = plan(seeds=1, alphas=(0.0, 0.5), label_fractions=(0.1,)).cells()
    own = [cell for cell in found if cell.key.name == "semise" and cell.key.alpha is None]
    assert sorted(cell.key.label_fraction for cell in own) == [0.1, 1.0]
    assert {cell.config.phase2.alpha for cell in own} == {0.1}
    assert len(found) == len({cell.key for cell in found}) == 7


def test_splits_that_the_manifest_names_are_one_split_for_every_seed():
    named = manifest(splits=("train", "val", "test"))
    cells = plan(seeds=3).cells(named)
    assert {(cell.config.seed, cell.config.data.split_seed) for cell in cells} == {(0, 0), (1, 0), (2, 0)}
    assert {cell.config.data.split_seed for cell in plan(seeds=3).cells(manifest())} == {0, 1, 2}


def test_a_variant_is_a_row_with_its_own_settings_on_top_of_all_rows():
    row = parse_variant("semise+wide:method=semise,unet.decoder_channels=[16,8],phase2.class_pair_weight=2")
    of_all = {"phase2": {"class_pair_weight": 3, "alpha": 0.3}}
    (cell,) = plan(rows=(row,), seeds=1, settings=of_all).cells()
    assert (cell.key.name, cell.config.method) == ("semise+wide", "semise")
    assert cell.config.unet.decoder_channels == (16, 8)
    assert (cell.config.phase2.class_pair_weight, cell.config.phase2.alpha) == (2, 0.3)
    faithful = parse_variant("old:preset=faithful")
    (cell,) = plan(rows=(faithful,), seeds=1).cells()
    assert cell.config.optimizer.name == "sgd"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name", "NAME:section.key=value"),
        ("bad name:a.b=1", "NAME:section.key=value"),
        ("semise:phase2.alpha=1", "own name"),
        ("semise-labeled:phase2.alpha=1", "own name"),
        ("x:method=magic", "magic"),
        ("x:seed=3", "the comparison sets that"),
        ("x:data.fold=1", "the comparison sets that"),
        ("x:data.fractions.train=0.5", "no setting of data in --variant x"),
    ],
)
def test_a_wrong_variant_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_variant(text)


def test_settings_that_the_plan_makes_are_refused():
    with pytest.raises(ConfigError, match=r"data\.label_fraction in --set"):
        refuse_planned({"data": {"label_fraction": 0.5}}, "--set")
    refuse_planned({"data": {"fractions": {"train": 0.5}, "split_seed": 3}}, "--set")


@pytest.mark.parametrize(
    ("method", "settings", "named"),
    [
        ("conpro", {"phase2": {"alpha": 0.3, "class_pair_weight": 0}}, "phase2.alpha"),
        ("supcon-n", {"phase1": {"pairs": "binary", "epochs": 3}}, "phase1.epochs, phase1.pairs"),
        ("soda", {"optimizer": {"lr": 0.1}}, "optimizer.lr"),
    ],
)
def test_a_setting_of_all_rows_that_would_make_another_method_of_one_is_refused(method, settings, named):
    asked = plan(rows=rows_of((method,), (), with_fractions=False), settings=settings)
    with pytest.raises(ConfigError) as caught:
        asked.cells()
    assert f"{named} alone" in str(caught.value)
    assert f"make {method} what it is" in str(caught.value)
    assert "--variant" in str(caught.value)


def test_the_remedy_for_such_a_setting_works_and_equal_values_or_other_rows_are_left_alone():
    variant = parse_variant("conpro3:method=conpro,phase2.alpha=0.3")
    assert plan(rows=(variant,), seeds=1).cells()[0].config.phase2.alpha == 0.3
    conpro = rows_of(("conpro",), (), with_fractions=False)
    assert plan(rows=conpro, seeds=1, settings={"phase2": {"alpha": 0.0}}).cells()[0].config.phase2.alpha == 0
    assert plan(seeds=1, settings={"phase2": {"alpha": 0.3}}).cells()[1].config.phase2.alpha == 0.3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 3, "only_fold": 3}, "0 to 2"),
        ({"only_fold": 1}, "beside --folds"),
        ({"rows": ()}, "at least one method"),
        ({"fraction_rows": ("semise", "magic")}, "among the rows majority, semise, found 'magic'"),
        ({"fraction_rows": ("supervised",), "label_fractions": (0.1,)}, "found 'supervised'"),
        ({"fraction_rows": ("semise",)}, "--label-fractions beside --fraction-methods"),
        (
            {"rows": rows_of(("majority",), (), with_fractions=True), "label_fractions": (0.1,)},
            "a row that learns from --label-fractions, found majority",
        ),
        (
            {"rows": rows_of(("majority",), (), with_fractions=False), "alphas": (0.1,)},
            "--alphas, found majority",
        ),
        ({"alphas": (0.2, 0.2000001), "seeds": 1}, "two called semise-alpha0.2-split0-seed0"),
        (
            {"rows": rows_of(("semise",), ["semise-alpha0.5:phase1.epochs=1"], with_fractions=False), "alphas": (0.5,)},
            "two called semise-alpha0.5-",
        ),
        ({"rows": rows_of(("semise", "semise"), (), with_fractions=False)}, "semise twice"),
        ({"settings": {"phase2": {"aplha": 1}}}, "aplha"),
    ],
)
def test_a_wrong_plan_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        plan(**options).cells()


def test_the_digest_is_of_the_experiment_not_of_the_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_file({"w": np.zeros(2, np.float32)}, tmp_path / name / "w.safetensors")

    def cell(folder="one", **options):
        encoder = {"init": "file", "weights": tmp_path / folder / "w.safetensors"}
        settings = {"encoder": encoder, **options.pop("settings", {})}
        row = rows_of(("semise",), (), with_fractions=False)
        return plan(tmp_path / folder / "data.csv", rows=row, seeds=1, settings=settings, **options).cells()[0]

    same = digest_of(cell().asked("data"))
    assert digest_of(cell("two").asked("data")) == same
    assert digest_of(cell(settings={"runtime": {"device": "cpu", "threads": 1}}).asked("data")) == same
    assert str(tmp_path) not in str(portable(cell().config))
    others = [
        digest_of(cell().asked("other data")),
        digest_of(cell(settings={"phase1": {"epochs": 3}}).asked("data")),
        digest_of(cell(settings={"runtime": {"precision": "bf16"}}).asked("data")),
        digest_of(cell(protocol=Protocol(head_seeds=3)).asked("data")),
        digest_of(cell(protocol=Protocol(passes=9)).asked("data")),
        digest_of(cell(protocol=Protocol(masks=False)).asked("data")),
    ]
    save_file({"w": np.ones(2, np.float32)}, tmp_path / "two" / "w.safetensors")
    others.append(digest_of(cell("two").asked("data")))
    assert len({same, *others}) == 8


def test_cells_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan(seeds=1).cells()[0].key = None


def test_a_setting_that_came_later_counts_as_its_default():
    asked = plan(seeds=1).cells()[0].asked("data")
    older = copy.deepcopy(asked)
    del older["config"]["phase2"]["rank_n_contrast_weight"]
    del older["config"]["soda"]
    assert is_same_experiment(older, asked)
    other = copy.deepcopy(asked)
    other["config"]["phase2"]["rank_n_contrast_weight"] = 1.0
    assert not is_same_experiment(older, other)


@pytest.mark.parametrize(
    ("setting", "now", "before"), [("selection", "pooled_dice", "dice"), ("prior", "lesions", "none")]
)
def test_a_u_net_was_trained_otherwise_before_there_was_a_choice(setting, now, before):
    older = plan(seeds=1).cells()[0].asked("data")
    chosen = {way: copy.deepcopy(older) for way in (before, now)}
    del older["config"]["unet"][setting]
    for way, asked in chosen.items():
        asked["config"]["unet"][setting] = way
        assert is_same_experiment(older, asked) == (way == before)


def test_the_u_net_counts_for_nothing_where_no_masks_are_compared():
    older = plan(seeds=1).cells()[0].asked("data")
    assert older["protocol"]["masks"] is True
    asked = copy.deepcopy(older)
    asked["config"]["unet"]["epochs"] += 1
    assert not is_same_experiment(older, asked)
    for each in (older, asked):
        each["protocol"]["masks"] = False
    assert is_same_experiment(older, asked)
    asked["config"]["classifier"]["epochs"] += 1
    assert not is_same_experiment(older, asked)


def test_the_u_net_counts_for_nothing_where_labels_are_hidden():
    """A cell of fewer labels trains none (see ``cell_config``)."""
    older = plan(seeds=1).cells()[0].asked("data")
    for fraction, is_same in ((1.0, False), (0.25, True)):
        older["config"]["data"]["label_fraction"] = fraction
        asked = copy.deepcopy(older)
        asked["config"]["unet"]["prior"] = "none"
        assert is_same_experiment(older, asked) == is_same


def test_another_value_data_or_protocol_is_another_experiment():
    asked = plan(seeds=1).cells()[0].asked("data")
    assert is_same_experiment(asked, asked)
    for change in ({"data": "other"}, {"protocol": {}}, {"weights": "f" * 64}, {"config": None}):
        assert not is_same_experiment({**asked, **change}, asked)
    gone = copy.deepcopy(asked)
    gone["config"]["phase1"]["of_an_older_version"] = 1
    assert not is_same_experiment(gone, asked)
