"""Blocks of groups that stay together, and their stratified, seeded allotment to parts."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from semise_training.data.manifest import Manifest
from semise_training.data.splits.connected import connected

Part = TypeVar("Part", bound=str)

_ATTEMPTS = 32


@dataclass(frozen=True, slots=True)
class Block:
    """Groups that must stay together.

    Args:
        name: The first of their names.
        members: Indices of their samples in the manifest.
        images: Number of labeled images of each severity level.
    """

    name: str
    members: tuple[int, ...]
    images: Mapping[int, int]

    @property
    def size(self) -> int:
        """Number of labeled images."""
        return sum(self.images.values())


def blocks_of(manifest: Manifest, keys: Sequence[str | None] | None = None) -> list[Block]:
    """Returns the groups of a manifest, those that share a key (one per sample) as one block, by name."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, block in enumerate(_block_of_each_sample(manifest, keys)):
        members[block].append(index)
    blocks = []
    for indices in members.values():
        samples = [manifest.samples[index] for index in indices]
        images = Counter(sample.severity for sample in samples if sample.severity is not None)
        blocks.append(Block(min(sample.group for sample in samples), tuple(indices), images))
    return sorted(blocks, key=lambda block: block.name)


def groups_per_level(manifest: Manifest, *, keys: Sequence[str | None] | None = None) -> Counter[int]:
    """Returns the number of blocks that hold images of each severity level."""
    return Counter(level for block in blocks_of(manifest, keys) for level in block.images)


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
    allotment.cover_levels(sorted(drawn, key=lambda block: block.size) if small_first else drawn)
    for block in sorted(drawn, key=lambda block: -block.size):
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


def _drawn_place(draw: str, name: str) -> str:
    return hashlib.sha256(f"{draw}:{name}".encode()).hexdigest()


def _block_of_each_sample(manifest: Manifest, keys: Sequence[str | None] | None) -> list[int]:
    """Returns the block number of each sample: groups are nodes, and so are keys, which tie groups together."""
    groups = {name: node for node, name in enumerate(dict.fromkeys(sample.group for sample in manifest.samples))}
    group_of = [groups[sample.group] for sample in manifest.samples]
    if keys is None:
        return group_of
    nodes = {key: node for node, key in enumerate(dict.fromkeys(filter(None, keys)), start=len(groups))}
    tied = [(group, nodes[key]) for group, key in zip(group_of, keys, strict=True) if key]
    sets = connected(len(groups) + len(nodes), [group for group, _ in tied], [key for _, key in tied])
    return [int(sets[group]) for group in group_of]
