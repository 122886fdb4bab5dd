"""What of a mask file is lesion."""

from pathlib import Path

import numpy as np
from PIL import Image

from semise_training.data.masks import read_mask


def test_a_mask_whose_alpha_is_0_everywhere_has_no_lesion_whatever_its_colour(tmp_path: Path) -> None:
    drawn = np.full((4, 6, 4), 255, np.uint8)
    drawn[:, :, 3] = 0
    Image.fromarray(drawn).save(tmp_path / "empty.png")
    assert not read_mask(tmp_path / "empty.png").any()
    drawn[1:3, 2:4, 3] = 255
    Image.fromarray(drawn).save(tmp_path / "lesion.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "lesion.png"), drawn[:, :, 3] == 255)
