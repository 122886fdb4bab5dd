"""Which images meet in a batch or a pair: indices drawn from the levels, repeatable from the seed and the epoch."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import DataError

PairKind = Literal["binary", "classes", "preference"]
Ties = Literal["drop", "half"]

Indices = NDArray[np.int64]


def sampled_pairs(levels: Indices, *, count: int, kind: PairKind, seed: int, ties: Ties = "drop") -> Indices:
    """Returns ``count`` random pairs of different images as int64 ``[count, 2]``, in random order.

    ``binary``: half of them of one kind (as many healthy as anomalous ones), half healthy against anomalous;
    ``classes``: half of one class, half of two, every class and every two classes equally often; ``preference``: any
    two images of different levels or, with ties ``half``, any two images.

    Args:
        levels: Severity of each labeled image, int ``[N]``, 0 healthy.
        count: How many pairs.
        kind: What the pairs are for.
        seed: The pairs depend on it and on the other arguments only.
        ties: Whether preference pairs may be of equal level.

    Raises:
        DataError: the levels hold no such pairs.
    """
    generator = np.random.default_rng(seed)
    if kind == "preference":
        return _preference_pairs(levels, count, ties, generator)
    members = _members(levels > 0 if kind == "binary" else levels)
    if len(members) < 2 or max(map(len, members)) < 2:
        raise DataError(
            f"expected images of at least two classes, one of them with two images, to draw {kind} pairs, found levels "
            f"{sorted(set(levels.tolist()))} on {len(levels)} images: add images or use other pairs"
        )
    different = count // 2
    pairs = [*_similar_pairs(members, count - different, generator), *_dissimilar_pairs(members, different, generator)]
    return generator.permutation(np.concatenate(pairs))


def balanced_batches(
    levels: Indices, *, batch_size: int, seed: int, epoch: int, batches: int | None = None
) -> Iterator[Indices]:
    """Returns an epoch's batches, int64 ``[batch_size]``, that hold every class equally often, to within one image.

    Each class is dealt like a deck of cards: no image comes again before the class is through, within an epoch and
    from one epoch to the next; a batch repeats an image only if its class has fewer images than its share.
    With the default number of batches an image of a class of n is seen N / (K n) times an epoch.

    Args:
        levels: Class of each image, int ``[N]``.
        batch_size: B; need not divide by the number of classes.
        seed: The batches depend on it, on the epoch and on the other arguments, not on earlier calls.
        epoch: 0 or more.
        batches: How many; by default ``ceil(N / batch_size)``.

    Raises:
        ValueError: no images, or a batch size below 1.
    """
    if not len(levels) or batch_size < 1:
        raise ValueError(f"expected images and a batch size of 1 or more, found {len(levels)} and {batch_size}")
    number = math.ceil(len(levels) / batch_size) if batches is None else batches
    return _balanced_batches(_members(levels), batch_size, seed, first_batch=epoch * number, batches=number)


def unlabeled_batches(
    images: Indices, *, batch_size: int, seed: int, epoch: int, batches: int | None = None
) -> Iterator[Indices]:
    """Yields an epoch's batches of ``min(batch_size, N)`` of the ``images [N]``, none twice in a batch.

    Dealt as :func:`balanced_batches` deals one class, so that every image is seen once before any is seen again.

    Raises:
        ValueError: no images, or a batch size below 1.
    """
    size, one_class = min(batch_size, len(images)), np.zeros(len(images), np.int64)
    for rows in balanced_batches(one_class, batch_size=size, seed=seed, epoch=epoch, batches=batches):
        yield images[rows]


def _members(classes: NDArray[np.generic]) -> list[Indices]:
    return [np.flatnonzero(classes == value).astype(np.int64) for value in np.unique(classes)]


def _preference_pairs(levels: Indices, count: int, ties: Ties, generator: np.random.Generator) -> Indices:
    total = len(levels)
    _, classes, sizes = np.unique(
        levels if ties == "drop" else np.arange(total), return_inverse=True, return_counts=True
    )
    if len(sizes) < 2:
        raise DataError(
            f"expected images of at least two severity levels to compare, found {total} images of level "
            f"{sorted(set(levels.tolist()))}: add images of other levels"
        )
    by_class = np.argsort(classes, kind="stable")
    start, size = (np.cumsum(sizes) - sizes)[classes[by_class]], sizes[classes[by_class]]
    partners = total - size
    first = generator.choice(total, size=count, p=partners / partners.sum())
    # Counted among the images outside the first one's class, then moved past that class.
    second = generator.integers(0, partners[first])
    second += np.where(second >= start[first], size[first], 0)
    return np.stack([by_class[first], by_class[second]], axis=1)


def _similar_pairs(members: Sequence[Indices], count: int, generator: np.random.Generator) -> Iterator[Indices]:
    usable = [each for each in members if len(each) > 1]
    for each, share in zip(usable, _shares(count, len(usable)), strict=True):
        first = generator.integers(0, len(each), size=share)
        second = (first + generator.integers(1, len(each), size=share)) % len(each)
        yield np.stack([each[first], each[second]], axis=1)


def _dissimilar_pairs(members: Sequence[Indices], count: int, generator: np.random.Generator) -> Iterator[Indices]:
    couples = list(itertools.permutations(members, 2))
    for (one, other), share in zip(couples, _shares(count, len(couples)), strict=True):
        first = generator.integers(0, len(one), size=share)
        second = generator.integers(0, len(other), size=share)
        yield np.stack([one[first], other[second]], axis=1)


def _shares(count: int, parts: int) -> list[int]:
    return [(count + part) // parts for part in range(parts)]


def _balanced_batches(
    members: Sequence[Indices], batch_size: int, seed: int, *, first_batch: int, batches: int
) -> Iterator[Indices]:
    # The places of all batches of all epochs are one line, dealt to the classes in turn: that balances any batch size
    # and says how much of each deck earlier epochs have used without replaying them.
    start, classes = first_batch * batch_size, len(members)
    decks = [
        _Deck(each, seed=(seed, index), dealt=(start + classes - 1 - index) // classes)
        for index, each in enumerate(members)
    ]
    for number in range(batches):
        owner = (start + number * batch_size + np.arange(batch_size)) % classes
        batch = np.empty(batch_size, np.int64)
        for index, deck in enumerate(decks):
            batch[owner == index] = deck.deal(int((owner == index).sum()))
        yield batch


class _Deck:
    """The images of one class, shuffled anew whenever all were dealt; ``dealt`` is how many went before."""

    def __init__(self, members: Indices, *, seed: tuple[int, ...], dealt: int) -> None:
        self._members = members
        self._seed = seed
        self._shuffles, used = divmod(dealt, len(members))
        self._left = self._shuffled()[used:]

    def deal(self, count: int) -> Indices:
        while len(self._left) < count:
            fresh = self._shuffled()
            # Images still in hand wait at the end of the new deck, so that one batch does not hold them twice.
            waits = np.isin(fresh, self._left)
            self._left = np.concatenate([self._left, fresh[~waits], fresh[waits]])
        dealt, self._left = self._left[:count], self._left[count:]
        return dealt

    def _shuffled(self) -> Indices:
        order = np.random.default_rng([*self._seed, self._shuffles]).permutation(self._members)
        self._shuffles += 1
        return order
