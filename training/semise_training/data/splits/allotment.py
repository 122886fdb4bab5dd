"""The stratified, seeded allotment of blocks to parts."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from semise_training.data.splits.blocks import Block

Part = TypeVar("Part", bound=str)

_ATTEMPTS = 32


def allot(blocks: Sequence[Block], shares: Mapping[Part, float], *, draw: str) -> dict[str, Part]:
    """Returns the part of each block with labels, by block name, so that every part gets its share of each level.

    Each level first goes once to every part, the rarest level first; then the largest blocks go where they are
    missed most. The order of equal blocks is drawn by hashing ``draw`` and their names, which no NumPy version,
    machine or row order changes. Few groups of mixed levels can leave a part without a level: then up to 32 draws are
    tried, and the first is kept when none gives every level to every part.
    """
    first = _allotment(blocks, shares, draw, small_first=True)
    if first.is_complete:
        return first.part_of
    # The small blocks alone may not go round: a seeded order finds what a fixed preference cannot.
    others = (_allotment(blocks, shares, f"{draw}+{turn}", small_first=False) for turn in range(1, _ATTEMPTS))
    return next((one for one in others if one.is_complete), first).part_of


def _allotment(
    blocks: Sequence[Block], shares: Mapping[Part, float], draw: str, *, small_first: bool
) -> "_Allotment[Part]":
    drawn = sorted((block for block in blocks if block.images), key=lambda block: _drawn_place(draw, block.name))
    allotment = _Allotment(drawn, shares)
    allotment.cover_levels(sorted(drawn, key=_size) if small_first else drawn)
    for block in sorted(drawn, key=lambda block: -_size(block)):
        if block.name not in allotment.part_of:
            allotment.put(block, allotment.neediest_part(block))
    return allotment


class _Allotment(Generic[Part]):
    """Parts that are being filled towards their share of each level."""

    def __init__(self, blocks: Sequence[Block], shares: Mapping[Part, float]) -> None:
        self.part_of: dict[str, Part] = {}
        self._totals = sum((Counter(block.images) for block in blocks), Counter())
        self._shares = shares
        self._filled: dict[Part, Counter[int]] = {part: Counter() for part in shares}

    @property
    def is_complete(self) -> bool:
        return all(filled[level] for filled in self._filled.values() for level in self._totals)

    def put(self, block: Block, part: Part) -> None:
        self.part_of[block.name] = part
        self._filled[part].update(block.images)

    def cover_levels(self, blocks: Sequence[Block]) -> None:
        """Puts one block of each level in each part, the first that are free, as far as they go."""
        rarity = Counter(level for block in blocks for level in block.images)
        for level in sorted(rarity, key=lambda level: (rarity[level], level)):
            for part in sorted(self._shares, key=lambda part: self._shares[part]):
                free = [block for block in blocks if level in block.images and block.name not in self.part_of]
                if free and not self._filled[part][level]:
                    self.put(free[0], part)

    def neediest_part(self, block: Block) -> Part:
        """Returns the part whose fill, relative to its share, comes nearest to its aim by taking ``block``."""
        return min(self._shares, key=lambda part: self._added_error(block, part))

    def _added_error(self, block: Block, part: Part) -> float:
        """Returns the change of ``sum over levels of (filled - aim)^2 / aim`` when ``part`` takes ``block``.

        For blocks of one image this is Webster's rule of fair apportionment.
        """
        error = 0.0
        for level, images in sorted(block.images.items()):
            aim = self._shares[part] * self._totals[level]
            error += images * (2 * (self._filled[part][level] - aim) + images) / aim
        return error


def _size(block: Block) -> int:
    return sum(block.images.values())


def _drawn_place(draw: str, name: str) -> str:
    return hashlib.sha256(f"{draw}:{name}".encode()).hexdigest()
