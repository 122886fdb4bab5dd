"""``imagenet``: the encoder as it comes; without this row no gain is attributable to training."""

from semise_training.methods.method import Method

IMAGENET = Method("no training of the encoder: what its initial weights are worth", identity=True)
