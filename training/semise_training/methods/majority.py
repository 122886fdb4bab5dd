"""``majority``: what the most common training grade is worth; a method that equals it has collapsed."""

from semise_training.methods.method import Method

MAJORITY = Method("the most common training grade for every image, and no network", is_constant=True)
