"""Blocks: the groups of a manifest that no split may part."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semise_training.data.manifest import Manifest
from semise_training.data.splits.connected import connected


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
