"""Networks that see one tile at a time, moved over a whole volume.

Tiles overlap, and where they do, their answers are averaged, those from a tile's middle weighing more
(nnU-Net, Nature Methods 18, 203, 2021). Answers come out slab by slab as soon as no later
tile touches them: only one tile's thickness of them is ever held. Tiles lie evenly spaced, as where the
published networks were measured. MONAI's `sliding_window_inference` places and weighs them otherwise, which moved
probabilities of a small STU-Net by up to 0.5.

Axes are those of the volume, whatever their order; slabs follow each other along the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from PromptSegLib.cancel import CancelToken, Progress, no_progress
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent

Network = Callable[[Tensor], Tensor]
"""(1, channel, *tile) values to (1, class, *tile) logits."""

Predict = Callable[[Tensor], Tensor]
"""(1, channel, *tile) values to (1, class, *tile) probabilities."""


def slabs_of_probabilities(
    volume: Tensor,
    predict: Predict,
    tile: Sequence[int],
    *,
    step: float = 0.5,
    gaussian: bool = True,
    half: bool = False,
    wanted: Extent | None = None,
    cancel: CancelToken | None = None,
    progress: Progress = no_progress,
) -> Iterator[Tensor]:
    """Yield the probabilities of `volume`, (class, n, b, c) each, as nnU-Net finds them, n layers at a time.

    volume: (channel, a, b, c), padded with zeros around it where it is smaller than the tile.
    predict: answers one tile, see `class_probabilities`. tile: (a, b, c) voxels.
    step: distance of neighbouring tiles, at most, as a fraction of the tile.
    gaussian: weigh the middle of a tile more; otherwise all of it alike.
    half: add up in half precision, to the last bit as nnU-Net's second version does.
    wanted: the voxels to be answered for, all by default: the same tiles answer, but those that see none of these
    voxels are left out; where no tile answers, all probabilities are 0.

    Raises:
        Cancelled: between two tiles.
    """
    short = [max(w - n, 0) for n, w in zip(volume.shape[1:], tile, strict=True)]
    padded = _pad(volume, [n // 2 for n in short], [n - n // 2 for n in short])
    starts = [even_starts(n, w, step) for n, w in zip(padded.shape[1:], tile, strict=True)]
    weights = torch.ones(tuple(tile))
    if gaussian and half:
        weights = gaussian_weights(tile, peak=10.0, half_precision=True)
    elif gaussian and any(len(axis) > 1 for axis in starts):
        weights = gaussian_weights(tile)
    sums = torch.float16 if half else torch.float32
    inside = [slice(n // 2, n // 2 + size) for n, size in zip(short, volume.shape[1:], strict=True)]
    if wanted is None:
        found = slabs(padded, predict, starts, weights, sums=sums, cancel=cancel, progress=progress)
        return _crop(found, inside)
    needed = [
        [start for start in axis if start < stop + n // 2 and start + w > first + n // 2] or axis[:1]
        for axis, w, n, first, stop in zip(starts, tile, short, wanted.start_kji, wanted.stop_kji, strict=True)
    ]
    part = [slice(axis[0], axis[-1] + w) for axis, w in zip(needed, tile, strict=True)]
    moved = [[start - axis[0] for start in axis] for axis in needed]
    found = slabs(padded[:, *part], predict, moved, weights, sums=sums, cancel=cancel, progress=progress)
    return _crop(_placed(found, part, padded.shape[1:]), inside)


def slabs_of_half_steps(
    volume: Tensor,
    predict: Predict,
    tile: Sequence[int] = (288, 288, 96),
    *,
    cancel: CancelToken | None = None,
    progress: Progress = no_progress,
) -> Iterator[Tensor]:
    """Yield the probabilities of `volume` as `slabs_of_probabilities` does, but as SAT finds them.

    Tiles lie half a tile apart, the last one moved back to the end; a volume smaller than the tile is padded
    with zeros at its end; weights are rounded to float16.
    """
    short = [max(w - n, 0) for n, w in zip(volume.shape[1:], tile, strict=True)]
    padded = _pad(volume, [0, 0, 0], short)
    starts = [half_step_starts(n, w) for n, w in zip(volume.shape[1:], tile, strict=True)]
    weights = gaussian_weights(tile, peak=10.0, half_precision=True)
    inside = [slice(0, size) for size in volume.shape[1:]]
    return _crop(slabs(padded, predict, starts, weights, cancel=cancel, progress=progress), inside)


def slabs(
    volume: Tensor,
    predict: Predict,
    starts: Sequence[Sequence[int]],
    weights: Tensor,
    *,
    sums: torch.dtype = torch.float32,
    cancel: CancelToken | None = None,
    progress: Progress = no_progress,
) -> Iterator[Tensor]:
    """Yield the weighted mean of the tiles' answers, (class, n, b, c) of type `sums`, n layers at a time.

    volume: (channel, a, b, c), at least one tile. starts: first voxels of the tiles along each axis, rising,
    such that they cover the volume. weights: (*tile) of each voxel in a tile's answer, above 0.
    Answers are added up on the device they are on; `predict` moves its tile there.
    """
    cancel = cancel or CancelToken()
    tile = weights.shape
    across = list(product(starts[1], starts[2]))
    total = mass = None
    for index, a in enumerate(starts[0]):
        for number, (b, c) in enumerate(across):
            cancel.check()
            at = (slice(b, b + tile[1]), slice(c, c + tile[2]))
            answer = predict(volume[None, :, a : a + tile[0], *at])[0]  # (class, *tile)
            if total is None or mass is None:
                weights = weights.to(answer.device, torch.float32)
                total = weights.new_zeros((len(answer), tile[0], *volume.shape[2:]), dtype=sums)
                mass = weights.new_zeros((1, *total.shape[1:]), dtype=sums)
            if sums == torch.float32:
                total[:, :, *at].addcmul_(answer.float(), weights)
            else:
                total[:, :, *at] += answer.float() * weights
            mass[:, :, *at] += weights
            del answer
            progress((index * len(across) + number + 1) / (len(starts[0]) * len(across)), "predicting")
        assert total is not None
        assert mass is not None
        done = starts[0][index + 1] - a if index + 1 < len(starts[0]) else tile[0]
        yield total[:, :done] / mass[:, :done]
        _shift(total, done)
        _shift(mass, done)


def _shift(layers: Tensor, by: int) -> None:
    """Move (class, n, b, c) `layers` down along their second axis, zeros following; in place, without a copy."""
    kept = layers.shape[1] - by
    for n in range(kept):
        layers[:, n] = layers[:, n + by]
    layers[:, kept:] = 0


def _pad(volume: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    return functional.pad(volume, [before[2], after[2], before[1], after[1], before[0], after[0]])


def _placed(slabs: Iterator[Tensor], part: Sequence[slice], shape: Sequence[int]) -> Iterator[Tensor]:
    """Yield what `slabs` are of the `part` : (a, b, c) of a volume as slabs of all of it, of `shape`; 0 elsewhere."""
    around = [part[2].start, shape[2] - part[2].stop, part[1].start, shape[1] - part[1].stop]
    for number, slab in enumerate(slabs):
        nothing = slab.new_zeros(1).expand(len(slab), shape[0], shape[1], shape[2])  # takes no memory
        if number == 0:
            yield nothing[:, : part[0].start]
        yield functional.pad(slab, around)
    yield nothing[:, part[0].stop :]


def _crop(slabs: Iterator[Tensor], inside: Sequence[slice]) -> Iterator[Tensor]:
    """The part `inside` : (a, b, c) of what `slabs` are slabs of."""
    first = 0
    for slab in slabs:
        layers = slice(max(inside[0].start - first, 0), max(inside[0].stop - first, 0))
        first += slab.shape[1]
        yield slab[:, layers, inside[1], inside[2]]


def even_starts(length: int, tile: int, step: float) -> list[int]:
    """First voxels of the fewest tiles that cover `length` evenly, `step` * `tile` apart at most."""
    if length < tile:
        raise VolumeError(f"expected at least one tile of {tile} voxels, got {length}")
    if not 0 < step <= 1:
        raise ValueError(f"expected a step of more than 0 and at most 1 tile, got {step}")
    room = length - tile
    if tile == 1:
        return list(range(length))
    count = int(np.ceil(room / (tile * step))) + 1
    return [int(np.round(room / max(count - 1, 1) * n)) for n in range(count)]


def half_step_starts(length: int, tile: int) -> list[int]:
    """First voxels of tiles half a tile apart, the last one moved back to the end; one if there is no room."""
    half = tile // 2
    count = max(-(-length // half) - 1, 1)
    return [min(n * half, max(length - tile, 0)) for n in range(count)]


def gaussian_weights(tile: Sequence[int], *, peak: float = 1.0, half_precision: bool = False) -> Tensor:
    """A Gaussian of sigma tile/8 about the middle voxel, (*tile) float32, highest `peak`, nowhere 0.

    half_precision: round to float16, in which some systems' published results were weighted.
    """
    impulse = np.zeros(tuple(tile))
    impulse[tuple(w // 2 for w in tile)] = 1
    bell = ndimage.gaussian_filter(impulse, [w / 8 for w in tile], mode="constant")
    bell = (bell / bell.max() * peak).astype(np.float16 if half_precision else np.float32)
    bell[bell == 0] = bell[bell > 0].min()
    return torch.from_numpy(bell.astype(np.float32))


@torch.no_grad()
def class_probabilities(
    network: Network, tile: Tensor, *, mirror_axes: Sequence[int] = (), classes: Sequence[int] | None = None
) -> Tensor:
    """Softmax of a network's logits for one tile, the mean over all mirrorings of `mirror_axes`.

    tile: (1, channel, a, b, c). mirror_axes: out of 0, 1, 2 for a, b, c. classes: the ones to return, all where
    None. Returns (1, class, a, b, c).
    """
    total: Tensor | None = None
    mirrorings = [axes for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    for axes in mirrorings:
        dims = [axis + 2 for axis in axes]
        probabilities = softmax_in_place(network(tile.flip(dims)))
        if classes is not None:
            probabilities = probabilities[:, list(classes)]
        answer = probabilities.flip(dims)
        total = answer if total is None else total.add_(answer)
    assert total is not None
    return total.div_(len(mirrorings))


def with_strongest_other(probabilities: Tensor, classes: Sequence[int]) -> Tensor:
    """The strongest of all others as class 0, then the probabilities, or logits, of `classes`.

    Returns (1, 1 + len(classes), …).

    So much decides, in a tile, which of `classes` a voxel is, or none of them. In the mean over tiles that see
    different strongest others, a voxel may be withheld from `classes`, never added.
    """
    asked = probabilities[:, list(classes)]
    probabilities[:, list(classes)] = -torch.inf
    return torch.cat((probabilities.amax(dim=1, keepdim=True), asked), dim=1)


def softmax_in_place(logits: Tensor) -> Tensor:
    """Softmax over the second axis in the memory of `logits`: a tile of 105 classes takes 0.9 GB."""
    logits -= logits.amax(dim=1, keepdim=True)
    logits.exp_()
    logits /= logits.sum(dim=1, keepdim=True)
    return logits
