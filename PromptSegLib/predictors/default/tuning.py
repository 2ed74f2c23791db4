"""All that was tuned in the default predictor and the classical one, each number with its reason, in one place.

What the shipped networks were trained with is not here: it is part of them, see `prompt_maps` and `prompt_unet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from PromptSegLib.geometry import FloatArray

Number = TypeVar("Number", int, float)


def _by_dims(of_slices: Number, of_volumes: Number) -> Mapping[int, Number]:
    """Return a field of a number for images of one slice, [2], and one for volumes, [3]."""
    by_dims: Mapping[int, Number] = field(default_factory=lambda: {2: of_slices, 3: of_volumes})
    return by_dims


@dataclass(frozen=True, eq=False)
class Tuning:
    """Numbers that were found by trying, on synthetic images and phantoms; voxels are working voxels unless said."""

    # Regions that the network is shown.
    most_looks: int = 3
    # A region's side as a multiple of what is known of the structure; the network was trained with 1.15 to 3.2.
    margin: float = 1.5
    # The smallest working voxel, in voxels of the image. With as fine ones, the first stroke of the other sign has
    # 0.005 less Dice on synthetic images.
    finest: float = 0.3
    finest_of_contrast: float = 0.5
    # Regions tried when nobody said how large the structure is, and their working voxels a side.
    scales: Mapping[int, int] = _by_dims(6, 4)
    scale_side: Mapping[int, int] = _by_dims(96, 48)
    # Working voxels a side of the first region and of those after it, until there is a mask to correct or a stroke to
    # follow: on phantoms the first click in a slice has 0.07 more Dice with 128 than with 192, the fifth 0.01 less. The
    # first click in a synthetic volume has 0.02 more when all but its first region have 48 in place of 64.
    first_side: Mapping[int, int] = _by_dims(128, 64)
    next_side: Mapping[int, int] = _by_dims(128, 48)
    # Looked at again is a structure that needs more than `room` of the region's side, or less than `close_in` of it;
    # one that reaches the border, in a region larger by `stride`.
    room: float = 1.1
    close_in: float = 0.75
    stride: float = 1.6
    # A network that expects no better Dice than this in the view that was clicked in is shown other regions, too.
    sure: float = 0.48
    # What an answer's own certainty counts beside what the others say of it, where regions are compared. On phantoms
    # choosing by certainty alone costs 0.02 to 0.07 Dice at the first click, the whole image or a fixed part of it much
    # more.
    own_weight: float = 0.5
    # How far from the newest prompt changes may begin that it asks for, and how far others may lie, in parts of the
    # mask's longest side. The first stroke of the other sign in a slice says more than a click, so many times as far.
    reach: float = 0.5
    contrary_reach: float = 0.25
    contrast_reach: int = 2

    # The size that is expected.
    # What people zoom to takes about this part of their view's longer side.
    part_of_view: float = 1 / 3
    # A structure is as large as a square or cube of this part of its longest side, or of this part of the mean of its
    # box's sides: medians over synthetic structures; boxes are somewhat loose.
    part_of_length: Mapping[int, float] = _by_dims(0.67, 0.47)
    part_of_box: Mapping[int, float] = _by_dims(0.78, 0.7)
    # Standard deviations: of the logarithm of a size, and of what a network's logits may be off by. On synthetic images
    # a first click in a slice has 0.02 more Dice with it, in a volume too, a box in a slice 0.03; where the view is
    # twice or half as wide as supposed, the first click has up to 0.02 less than without.
    spread_in_view: float = 0.5
    spread_in_box: Mapping[int, float] = _by_dims(0.2, 0.25)
    bias: float = 2.0
    shifts: FloatArray = field(default_factory=lambda: np.linspace(-3, 3, 25))

    # Other opinions, as logits.
    # The classical predictor's answer shifts the odds, as one does that is right in two voxels of three, and somewhat
    # more often where strokes tell it more. With twice the weight first clicks and strokes on synthetic images have
    # 0.02 less Dice; with none third clicks have 0.01 less. A box in a slice and a later click are better left to the
    # network.
    opinion_of_clicks: float = 0.7
    opinion_of_strokes: float = 1.0
    # In a box, level sets shift the odds, and so does what the network says when it is shown the best of them as the
    # mask: by a part of the difference. With twice the weight of either, boxes on synthetic images have 0.01 less Dice;
    # with neither, those in slices have 0.02 less.
    opinion_of_level_sets: float = 1.0
    on_second_thought: float = 0.33
    # With the first stroke of the other sign in a slice, the odds are shifted by what looks like the strokes, by what
    # is nearer to them over the edges, and by half of what the network says otherwise when it forgets the mask so far.
    # Without all that such strokes have 0.02 less Dice on synthetic images; with it for later ones, too, those have
    # 0.01 less.
    opinion_of_looks: float = 5.0
    opinion_of_places: float = 2.0
    anew: float = 0.5

    # Level sets of a box.
    # Levels tried, quantiles of the box, and how many of the largest parts above and below each.
    levels: FloatArray = field(default_factory=lambda: np.linspace(0.05, 0.97, 20))
    parts_of_level: int = 3
    # Smaller parts say nothing; nor do those that are shorter than half of the box along any axis: people draw boxes
    # around what they mean.
    least_voxels: int = 30
    least_side: float = 0.5
    # Against noise: of the levels, of the edges.
    smooth_levels: float = 0.6
    smooth_edges: float = 0.8
    # How much a network's view of it counts, and what spreads over the box's faces, as surroundings do; fitted to 300
    # boxes in synthetic volumes.
    agreement: float = 3.0
    spread: float = 1.4

    # What looks like the strokes.
    # Surroundings that are looked at, as standard deviations of Gaussians, and those whose curvature is.
    looks_scales: tuple[int, ...] = (1, 2, 4, 8)
    curved_scales: tuple[int, ...] = (1, 2)
    # A network's probabilities beyond these are examples, too, those of the surroundings no farther from the structure
    # than this part of its longest side; at most so many of each sign.
    sure_example: float = 0.9
    around: float = 0.5
    most_examples: int = 1500
    # All strokes of a sign count as much as so many examples, however long they are; so do all examples of the network.
    weight_of_examples: float = 40.0
    # Either side of a mask counts as so many examples. What is nearer to a prompt against it than the first part of how
    # far the mask may be wrong there is no example of it, what is nearer than the second one of the prompt.
    weight_of_side: float = 100.0
    doubted: float = 1.5
    told: float = 0.5
    # Where more is in doubt beyond the mask than so many times its size, its sides tell nothing: a part that is missing
    # altogether is about as far from the mask as from all else that lies there.
    most_doubted: float = 2.0
    # A prompt against the mask does not take more of it than this part: what looks like that all over is the mask.
    most_taken: float = 0.5
    # What is missing reaches no farther from its prompt than so many times the depth of what is there.
    thicker_missing: float = 2.0

    # Doubtful voxels, decided by the image.
    # Probabilities between these are in doubt.
    doubt: tuple[float, float] = (0.05, 0.95)
    # How far from the network's border the image may move it: in parts of the radius of a ball as large as the mask,
    # and in voxels at least.
    band: float = 0.25
    least_band: float = 3.0
    # Voxels around a prompt within which a network that is sure of the contrary is not believed.
    heard: int = 4
    # What a step of a voxel costs beside the edges it crosses, which are parts of black to white: in the band of what
    # is in doubt, and from strokes, which may be far.
    step_in_doubt: float = 0.02
    step_from_strokes: float = 0.005

    # Corrections of a mask that came from elsewhere.
    # The odds that a voxel is wrong: of the network's logit, of that of its looks, and of the logarithm of its distance
    # from the prompt, in parts of how deep the prompt lies in what it is about. By a logistic regression on 250 bent
    # synthetic slices, the constant lower: a first click there has 0.075 more Dice, and 3 of 100 lose.
    wrong_constant: float = -0.4
    wrong_by_network: float = 0.43
    wrong_by_looks: float = 0.45
    wrong_by_distance: float = -1.0
    # Larger logits are no surer.
    most_of_network: float = 8.0
    most_of_looks: float = 6.0
    # What is added is at most so many times as thick as the mask, and a voxel; to be thinner, it takes higher odds.
    thick: float = 1.5
    odds: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
    # Voxels around a prompt that change with it in any case.
    heard_in_correction: float = 1.5
    # Voxels of a stroke of which it is asked how deep they lie.
    most_asked: int = 30
    # A mask is corrected in a region in which it is so many voxels deep. On synthetic volumes trees lose by corrections
    # when all of them is looked at.
    deep_enough: float = 3.0
    # The smallest working voxel of a correction, in voxels of the image.
    finest_corrected: float = 0.75

    # The classical predictor.
    # What a step through the most familiar tissue costs, against 1 for one that is clearly strange.
    familiar_step: float = 0.05
    # Working voxels a side of its regions, and how many of these it looks at.
    grown_side: int = 64
    most_passes: int = 4
    # The first region's side, when no view says better, as a part of the image's longest.
    first_part: float = 0.35
    # What the field counts as logits, where a mask that came from elsewhere is corrected.
    field_as_logits: float = 4.0
    # What noise alone seldom reaches, and another tissue passes: log(1 + 2.7).
    strange: float = 1.3
    # What differs by more is no stranger: air and bone would outweigh the borders between soft tissues. On phantoms the
    # Dice after three clicks is 0.79 with this limit, 0.76 without.
    most_unlike: float = 6.0


TUNED = Tuning()
