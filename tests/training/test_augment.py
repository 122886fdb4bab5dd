"""What augmentation may and may not change: parameters are read back from ramps and flat images."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as torchvision  # type: ignore[import-untyped]

from semise_sdk.errors import ConfigError
from semise_training.augment import AUGMENT_PRESETS, Augmenter
from semise_training.sections import AugmentConfig

OFF = {
    "horizontal_flip": 0.0,
    "rotation_degrees": 0.0,
    "scale": (1.0, 1.0),
    "translate": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "noise": 0.0,
}


def only(**amounts: float | tuple[float, float]) -> Augmenter:
    return Augmenter(AugmentConfig(**{**OFF, **amounts}))  # type: ignore[arg-type]


def photographs(count: int, height: int = 32, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (40 + 170 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def planes_of(canvases: Tensor) -> Tensor:
    return canvases.permute(0, 3, 1, 2).float()


def ramps(count: int, height: int, width: int) -> Tensor:
    """Canvases whose red is the column and whose green is the row, so that every pixel says where it came from."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    canvas = torch.stack([columns, rows, torch.zeros_like(rows)], dim=-1).to(torch.uint8)
    return canvas.expand(count, -1, -1, -1)


def source_matrices(augment: Augmenter, count: int, *, height: int = 96, width: int = 128) -> np.ndarray:
    """The 2 x 3 matrices that send a pixel of the view to where it came from, both counted from the centre."""
    views = augment(ramps(count, height, width), seed=11).double().numpy()
    inner = np.s_[height // 2 - 12 : height // 2 + 12, width // 2 - 12 : width // 2 + 12]
    rows, columns = (grid[inner].ravel() for grid in np.mgrid[:height, :width])
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    places = np.stack([columns - center[0], rows - center[1], np.ones(rows.size)], axis=1)
    matrices = []
    for view in views:
        origins = np.stack([view[0][inner].ravel(), view[1][inner].ravel()], axis=1) - center
        solution, *_ = np.linalg.lstsq(places, origins, rcond=None)
        np.testing.assert_allclose(places @ solution, origins, atol=0.02)
        matrices.append(solution.T)
    return np.stack(matrices)


def test_no_augmentation_is_the_cast_that_the_encoder_does() -> None:
    canvases = photographs(3)
    view = Augmenter(AUGMENT_PRESETS["none"])(canvases, seed=0)
    torch.testing.assert_close(view, planes_of(canvases), rtol=0, atol=0)
    assert view.dtype == torch.float32


@pytest.mark.parametrize("preset", ["weak", "none"])
def test_views_are_bounded_float32_planes_in_channels_last_memory(preset: str) -> None:
    view = Augmenter(AUGMENT_PRESETS[preset])(photographs(5, 24, 40), seed=0)
    assert view.shape == (5, 3, 24, 40)
    assert view.dtype == torch.float32
    assert view.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= view.min() <= view.max() <= 255


def test_every_image_gets_parameters_of_its_own() -> None:
    same = photographs(1).expand(4, -1, -1, -1)
    views = Augmenter(AugmentConfig())(same, seed=0)
    assert all(not torch.equal(views[i], views[j]) for i in range(4) for j in range(i))


def test_a_seed_decides_the_view_and_the_global_random_state_neither_matters_nor_changes() -> None:
    augment, canvases = Augmenter(AugmentConfig(blur=0.5, hue=0.1)), photographs(4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = augment(canvases, seed=2**63 - 1)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    torch.manual_seed(2)
    torch.testing.assert_close(augment(canvases, seed=2**63 - 1), first, rtol=0, atol=0)
    assert not torch.equal(augment(canvases, seed=5), first)


def test_autocast_does_not_reach_the_warp() -> None:
    augment, canvases = Augmenter(AugmentConfig()), photographs(4)
    expected = augment(canvases, seed=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(augment(canvases, seed=3), expected, rtol=0, atol=0)


def test_views_stay_near_their_image() -> None:
    canvases = photographs(16)
    change = (Augmenter(AugmentConfig(horizontal_flip=0.0))(canvases, seed=0) - planes_of(canvases)).abs()
    assert 2 < change.mean() < 40


@pytest.mark.parametrize(("flip", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_a_certain_flip_is_exact(flip: str, axis: int) -> None:
    canvases = photographs(2, 24, 40)
    view = only(**{flip: 1.0})(canvases, seed=0)
    torch.testing.assert_close(view, planes_of(canvases).flip(axis), rtol=0, atol=0.02)


def test_a_flip_of_half_probability_flips_about_half() -> None:
    matrices = source_matrices(only(horizontal_flip=0.5), 60)
    flipped = matrices[:, 0, 0] < 0
    assert 18 <= flipped.sum() <= 42
    np.testing.assert_allclose(np.abs(matrices[:, 0, 0]), 1, atol=1e-3)
    np.testing.assert_allclose(matrices[:, 1, 1], 1, atol=1e-3)


def test_rotation_turns_rigidly_within_its_limit_both_ways() -> None:
    matrices = source_matrices(only(rotation_degrees=20.0), 40)
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert -20.1 <= angles.min() < -14
    assert 14 < angles.max() <= 20.1
    identity = np.broadcast_to(np.eye(2), (40, 2, 2))
    np.testing.assert_allclose(matrices[:, :, :2] @ matrices[:, :, :2].transpose(0, 2, 1), identity, atol=3e-3)
    np.testing.assert_allclose(matrices[:, :, 2], 0, atol=0.02)


def test_scale_zooms_about_the_centre_within_its_limits() -> None:
    matrices = source_matrices(only(scale=(0.8, 1.25)), 40)
    zoom = 1 / matrices[:, 0, 0]
    assert 0.8 - 1e-3 <= zoom.min() < 0.87
    assert 1.17 < zoom.max() <= 1.25 + 1e-3
    np.testing.assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1], atol=2e-3)
    np.testing.assert_allclose(matrices[:, :, 2], 0, atol=0.02)


def test_translation_is_a_share_of_each_side() -> None:
    shifts = source_matrices(only(translate=0.1), 40, height=80, width=120)[:, :, 2]
    limits = np.array([12.0, 8.0])
    assert (np.abs(shifts) <= limits + 0.02).all()
    assert (np.abs(shifts).max(axis=0) > 0.8 * limits).all()


def test_a_crop_keeps_a_window_inside_the_image() -> None:
    matrices = source_matrices(only(crop_scale=0.25), 40)
    side = matrices[:, 0, 0]
    assert 0.5 - 1e-3 <= side.min() < 0.6
    assert 0.9 < side.max() <= 1 + 1e-3
    room = (1 - side)[:, None] / 2 * np.array([128.0, 96.0])
    assert (np.abs(matrices[:, :, 2]) <= room + 0.03).all()
    small = side < 0.8
    assert ((np.abs(matrices[:, :, 2]) / room)[small].max(axis=0) > 0.9).all()


def test_masks_move_with_their_images() -> None:
    masks = (photographs(8)[..., 0] > 125).to(torch.uint8) * 255
    canvases = masks[..., None].expand(-1, -1, -1, 3)
    augment = Augmenter(AugmentConfig(vertical_flip=0.5, crop_scale=0.5, **{**OFF, "rotation_degrees": 30.0}))  # type: ignore[arg-type]
    planes, moved = augment.with_masks(canvases, masks, seed=4)
    assert moved.shape == (8, 32, 32)
    assert moved.dtype == torch.float32
    assert set(moved.flatten().tolist()) == {0.0, 1.0}
    assert not torch.equal(moved, masks / 255)
    clear = (planes[:, 0] - 127.5).abs() > 1
    torch.testing.assert_close(moved[clear], (planes[:, 0] > 127.5).float()[clear], rtol=0, atol=0)


def test_masks_do_not_change_the_planes() -> None:
    canvases, augment = photographs(4), Augmenter(AugmentConfig())
    planes, moved = augment.with_masks(canvases, torch.ones(4, 32, 32, dtype=torch.uint8), seed=9)
    torch.testing.assert_close(planes, augment(canvases, seed=9), rtol=0, atol=1e-3)
    assert planes.is_contiguous(memory_format=torch.channels_last)
    assert moved.min() == 1


def test_masks_without_augmentation_are_only_cast() -> None:
    masks = (photographs(2)[..., 0] > 125).to(torch.uint8) * 255
    _, same = Augmenter(AUGMENT_PRESETS["none"]).with_masks(photographs(2), masks, seed=0)
    torch.testing.assert_close(same, (masks > 0).float(), rtol=0, atol=0)


def test_black_borders_stay_black_and_nothing_else_enters() -> None:
    black = torch.zeros(6, 32, 32, 3, dtype=torch.uint8)
    assert not Augmenter(AugmentConfig(noise=0.0))(black, seed=0).any()
    white = torch.full((6, 32, 32, 3), 255, dtype=torch.uint8)
    geometry = {**OFF, "rotation_degrees": 45.0, "translate": 0.3}
    torch.testing.assert_close(
        Augmenter(AugmentConfig(**geometry))(white, seed=0),  # type: ignore[arg-type]
        torch.full((6, 3, 32, 32), 255.0),
    )


def recovered(views: Tensor, candidates: Tensor) -> None:
    """Fails unless each view is one of its image's candidates ``[steps, N, 3, H, W]`` to within a grey level."""
    errors = (candidates - views).abs().amax(dim=(2, 3, 4))
    assert (errors.min(dim=0).values < 1.0).all()
    assert len(set(errors.argmin(dim=0).tolist())) > 3


def test_brightness_contrast_and_gamma_are_torchvisions() -> None:
    grey = photographs(6)[..., :1].expand(-1, -1, -1, 3)
    unit = planes_of(grey) / 255
    for name, adjust in {
        "brightness": torchvision.adjust_brightness,
        "contrast": torchvision.adjust_contrast,
        "gamma": torchvision.adjust_gamma,
    }.items():
        low = 1 / 1.2 if name == "gamma" else 0.8
        steps = torch.linspace(low, 1.2, 201).tolist()
        candidates = 255 * torch.stack([adjust(unit, step) for step in steps])
        recovered(only(**{name: 0.2})(grey, seed=1), candidates)


def test_noise_is_the_same_on_all_channels_and_of_the_given_size() -> None:
    grey = torch.full((8, 64, 64, 3), 128, dtype=torch.uint8)
    noise = only(noise=0.05)(grey, seed=0) - 128
    torch.testing.assert_close(noise[:, 0], noise[:, 1])
    torch.testing.assert_close(noise[:, 0], noise[:, 2])
    assert noise.std().item() == pytest.approx(0.05 * 255, rel=0.03)
    assert abs(noise.mean().item()) < 0.3


def test_weak_views_of_grey_images_stay_grey() -> None:
    grey = photographs(4)[..., :1].expand(-1, -1, -1, 3)
    view = Augmenter(AugmentConfig())(grey, seed=0)
    torch.testing.assert_close(view[:, 0], view[:, 1], rtol=0, atol=1e-3)
    torch.testing.assert_close(view[:, 0], view[:, 2], rtol=0, atol=1e-3)


def test_hue_turns_colours_and_leaves_value_alone() -> None:
    canvases = photographs(6)
    turned, before = only(hue=0.2)(canvases, seed=0), planes_of(canvases)
    assert (turned - before).abs().amax(dim=(1, 2, 3)).max() > 20
    torch.testing.assert_close(turned.amax(dim=1), before.amax(dim=1), rtol=0, atol=0.01)
    torch.testing.assert_close(turned.amin(dim=1), before.amin(dim=1), rtol=0, atol=0.01)


def test_blur_smooths_the_chosen_images_only() -> None:
    noise = torch.randint(0, 256, (40, 16, 16, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    views, before = only(blur=0.5)(noise, seed=0), planes_of(noise)
    untouched = (views - before).abs().amax(dim=(1, 2, 3)) < 0.01
    smoother = views.std(dim=(1, 2, 3)) < 0.99 * before.std(dim=(1, 2, 3))
    assert 10 <= untouched.sum() <= 32
    assert smoother.sum() > 6
    assert not (untouched & smoother).any()


def test_no_image_gives_no_view() -> None:
    assert Augmenter(AugmentConfig())(photographs(0), seed=0).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"horizontal_flip": 1.5}, "augment.horizontal_flip from 0 to 1, found 1.5"),
        ({"noise": -0.1}, "augment.noise from 0 to 1, found -0.1"),
        ({"hue": 0.6}, "augment.hue from 0 to 0.5, found 0.6"),
        ({"gamma": float("nan")}, "augment.gamma from 0 to 1, found nan"),
        ({"scale": (1.2, 0.8)}, r"augment.scale as \(low, high\)"),
        ({"scale": (0.0, 1.0)}, r"augment.scale as \(low, high\)"),
        ({"crop_scale": 0.0}, "augment.crop_scale above 0"),
    ],
)
def test_amounts_out_of_range_are_refused(amounts: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentConfig(**amounts)  # type: ignore[arg-type]


def test_wrong_arrays_are_refused() -> None:
    augment = Augmenter(AugmentConfig())
    with pytest.raises(ValueError, match=r"expected uint8 canvases \[N, H, W, 3\]"):
        augment(torch.zeros(2, 3, 8, 8), seed=0)
    with pytest.raises(ValueError, match=r"expected masks \(2, 32, 32\), found \(2, 16, 16\)"):
        augment.with_masks(photographs(2), torch.zeros(2, 16, 16, dtype=torch.uint8), seed=0)
