import io

import numpy as np
import pytest
from PIL import Image

from semise_sdk.reports.worklist.pictures import DETAIL_SIDE, MAP_SIDE, RowPictures, as_webp, data_uri, draw
from semise_sdk.results import Analysis


def opened(webp: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    return image


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_without_an_analysis_there_is_a_thumbnail_alone():
    pictures = draw(noise(300, 600))
    assert opened(pictures.thumbnail).size == (96, 48)
    assert (pictures.image, pictures.severity_map, pictures.mask, pictures.detail_bytes) == (b"", b"", b"", 0)


@pytest.mark.parametrize(
    ("height", "width", "shown"), [(600, 1200, (512, 256)), (40, 50, (50, 40)), (1, 900, (512, 1))]
)
def test_a_picture_is_shrunk_to_the_panel_and_never_enlarged(height, width, shown):
    pictures = draw(noise(height, width), Analysis(file="a", mask=np.full((height, width), 255, np.uint8)))
    assert opened(pictures.image).size == opened(pictures.mask).size == shown
    assert max(shown) <= DETAIL_SIDE


def test_the_map_is_clear_where_healthy_and_opaque_where_severe():
    places = np.zeros((200, 300), np.float32)
    places[:, 150:] = 1.0
    layer = np.asarray(opened(draw(noise(200, 300), Analysis(file="a", severity_map=places)).severity_map))
    assert layer.shape == (64, MAP_SIDE, 4)
    assert (layer[:, :40, 3] < 10).all()
    assert (layer[:, 56:, 3] > 245).all()


def test_a_lesion_smaller_than_a_pixel_of_the_panel_is_still_drawn():
    mask = np.zeros((3000, 3000), np.uint8)
    mask[1500, 1500] = 255
    layer = np.asarray(opened(draw(noise(3000, 3000), Analysis(file="a", mask=mask)).mask))
    assert (layer[:, :, 3] > 0).sum() == 1


def test_an_empty_mask_is_a_clear_layer():
    layer = np.asarray(opened(draw(noise(30, 30), Analysis(file="a", mask=np.zeros((30, 30), np.uint8))).mask))
    assert (layer[:, :, 3] == 0).all()


def test_the_weight_of_details_is_that_of_their_base64():
    pictures = RowPictures(thumbnail=b"x" * 900, image=b"x" * 4, severity_map=b"x" * 3)
    prefix = len("data:image/webp;base64,")
    assert pictures.detail_bytes == len(data_uri(pictures.image)) + len(data_uri(pictures.severity_map)) - 2 * prefix


def test_equal_pixels_give_equal_bytes():
    assert as_webp(Image.fromarray(noise(20, 20))) == as_webp(Image.fromarray(noise(20, 20)))
    assert data_uri(b"") == ""
