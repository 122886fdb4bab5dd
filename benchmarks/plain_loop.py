"""The PyTorch loop that a user would write to rank a folder: Pillow, torchvision transforms, cosine distance."""

import time
from pathlib import Path

import timm
import torch
from PIL import Image
from torchvision import transforms

PREPROCESS = transforms.Compose(
    [
        transforms.Resize((224, 224)),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)


def plain_loop(encoder: str, bundle: Path, files: list[Path]) -> float:
    """Returns the seconds that it takes to score ``files`` and write a CSV, the model loaded and warm."""
    model = timm.create_model(encoder, pretrained=False, num_classes=0).eval()
    projection = torch.nn.Linear(model.num_features, 256)

    @torch.no_grad()
    def embed(path: Path) -> torch.Tensor:
        return projection(model(PREPROCESS(Image.open(path).convert("RGB"))[None]))[0]

    reference = embed(files[0])
    started = time.perf_counter()
    scores = {}
    for path in files:
        scores[path.name] = 1 - torch.nn.functional.cosine_similarity(embed(path), reference, dim=0).item()
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    (bundle.parent / "plain.csv").write_text("\n".join(f"{name},{score:.6f}" for name, score in ranked))
    return time.perf_counter() - started
