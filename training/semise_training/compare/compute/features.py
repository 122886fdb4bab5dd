"""Frozen features of encoders that several cells share: computed once for all images, kept beside the decoded ones."""

import hashlib
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from semise_sdk.system.atomic import write_bytes
from semise_training.loop.checkpoint import state_digest
from semise_training.stages.classifier import HeadFeatures, all_views
from semise_training.stages.upstream import Upstream


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """Where features are kept, and the name of the decoded images that they are of."""

    folder: Path
    images_key: str


def shared_features(upstream: Upstream, store: FeatureStore, *, augmented_views: int) -> HeadFeatures:
    """Returns what the classifiers of an encoder that no label has touched are trained on.

    Args:
        upstream: The model and the data.
        store: Where features are kept.
        augmented_views: Views beside the images as they are.
    """
    path = store.folder / f"features-{_key(upstream, augmented_views, store.images_key)}.npy"
    views = torch.from_numpy(_views(upstream, path, augmented_views)).to(upstream.compute.device)
    train, val = upstream.dataset.parts["train"], upstream.dataset.parts["val"]
    return HeadFeatures(
        training=views[:, torch.from_numpy(train)],
        levels=upstream.levels(train),
        validation=views[0, torch.from_numpy(val)],
        validation_levels=upstream.dataset.levels[val],
    )


def _views(upstream: Upstream, path: Path, augmented_views: int) -> NDArray[np.float32]:
    if not path.exists():
        everything = np.arange(len(upstream.dataset.canvases))
        views = all_views(upstream, everything, augmented_views=augmented_views)
        content = BytesIO()
        np.save(content, views.float().cpu().numpy(), allow_pickle=False)
        write_bytes(path, content.getvalue())
    loaded: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return loaded


def _key(upstream: Upstream, augmented_views: int, images_key: str) -> str:
    augment = upstream.augmenter.config
    parts = {
        "encoder": state_digest(upstream.model.network.encoder),
        "images": images_key,
        "augment": {name: getattr(augment, name) for name in augment.__slots__},
        "views": augmented_views,
        "seed": upstream.seed,
        "device": upstream.compute.device.type,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
