"""A batch of users at work: each slot holds a view of an image, a target and the prompts so far.

One step of training is one interaction of every slot. A slot is given a new image now and then, so that the batch
always holds first clicks and tenth ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from PromptSegLib.training import prompt_simulation as simulated
from PromptSegLib.training.draws import Draws
from PromptSegLib.training.fields import each
from PromptSegLib.training.pool import Pool
from PromptSegLib.training.targets import TARGETS, compactness
from PromptSegLib.training.views import Views, resample, sample, view_again, view_targets

_MOST_CLICKS = 12
_STARTS = {"click": 0.40, "box": 0.22, "box and click": 0.05, "strokes": 0.18, "lasso": 0.05, "mask": 0.10}
_ANOTHER_IMAGE, _ANOTHER_VIEW, _NO_CLICK, _STROKE = 0.18, 0.25, 0.10, 0.10
_GOOD_ENOUGH = 0.985
_COMPACT = 0.5
"""How often the more compact of two targets is taken: what people segment is more often an organ than a tree."""

_FEWEST_VOXELS = {2: 16, 3: 24}


@dataclass(frozen=True)
class Maps:
    """What the network is given, see `prompt_features`, and the truth; each (B, 1, *S) float32."""

    image: Tensor
    positive: Tensor
    negative: Tensor
    box: Tensor
    previous: Tensor
    truth: Tensor


class Slots:
    """`count` slots on grids of `size` voxels, filled from the pool; `state` holds everything, for checkpoints."""

    def __init__(self, pool: Pool, count: int, size: int, draws: Draws) -> None:
        self.pool, self.count, self.size, self._draws = pool, count, size, draws
        dims = pool.dims
        device = draws.device
        self._dims = dims
        names = ("image", "truth", "box", "positive", "negative", "previous")
        self.state = {name: torch.zeros(count, 1, *[size] * dims, device=device) for name in names}
        self.state |= {
            "index": torch.zeros(count, dtype=torch.int64, device=device),
            "bit": torch.zeros(count, dtype=torch.int64, device=device),
            "center": torch.zeros(count, dims, device=device),
            "half": torch.ones(count, device=device),
            "rotation": torch.eye(dims, device=device).repeat(count, 1, 1),
            "gamma": torch.ones(count, device=device),
            "inverted": torch.zeros(count, dtype=torch.bool, device=device),
            "stretched": torch.zeros(count, dtype=torch.bool, device=device),
            "noise": torch.zeros(count, device=device),
            "clicks": torch.zeros(count, _MOST_CLICKS, dims, device=device),
            "signs": torch.zeros(count, _MOST_CLICKS, device=device),
            "age": torch.zeros(count, dtype=torch.int64, device=device),
        }

    def fill(self) -> None:
        """Give every slot an image and its first prompts."""
        self._restart(torch.arange(self.count, device=self._draws.device))

    def maps(self) -> Maps:
        """What the network is given now, and the truth."""
        state = self.state
        positive, negative = self._click_maps()
        return Maps(
            state["image"],
            torch.maximum(positive, state["positive"]),
            torch.maximum(negative, state["negative"]),
            state["box"],
            state["previous"],
            state["truth"],
        )

    def interact(self, probability: Tensor) -> None:
        """One interaction of each slot with the answer (B, 1, *S) it got."""
        state, draws = self.state, self._draws
        mask = (probability > 0.5).float()
        truth = state["truth"]
        axes = list(range(1, truth.dim()))
        dice = (2 * (mask * truth).sum(axes) + 1) / (mask.sum(axes) + truth.sum(axes) + 1)
        errors = (mask - truth).abs()
        state["age"] += 1
        new = draws.chance(_ANOTHER_IMAGE, self.count) | (dice > _GOOD_ENOUGH) | (state["age"] >= _MOST_CLICKS)
        sharp = draws.chance(0.5, self.count)
        state["previous"] = torch.where(each(sharp, self._dims + 1), mask, probability)
        self._correct(errors, ~new)
        self._look_again((draws.chance(_ANOTHER_VIEW, self.count) & ~new).nonzero()[:, 0], mask)
        new |= state["truth"].flatten(1).sum(1) < _FEWEST_VOXELS[self._dims]
        if new.any():
            self._restart(new.nonzero()[:, 0])

    def _correct(self, errors: Tensor, going_on: Tensor) -> None:
        """Click or stroke into the errors of the slots that go on; now and then do neither, as on a second look."""
        state, draws = self.state, self._draws
        idle = draws.chance(_NO_CLICK, self.count)
        stroked = draws.chance(_STROKE, self.count) & going_on & ~idle
        where, found = simulated.click(draws, errors)
        self._add_clicks((going_on & ~idle & ~stroked & found).nonzero()[:, 0], where)
        who = stroked.nonzero()[:, 0]
        if len(who) > 0:
            drawn = simulated.strokes(draws, errors[who])
            truth = state["truth"][who]
            state["positive"][who] = torch.maximum(state["positive"][who], drawn * truth)
            state["negative"][who] = torch.maximum(state["negative"][who], drawn * (1.0 - truth))

    def _restart(self, who: Tensor) -> None:
        """New images, targets and views for these slots, and first prompts."""
        state, draws, count = self.state, self._draws, len(who)
        state["index"][who] = draws.integers(0, len(self.pool), count)
        for name in ("box", "positive", "negative", "previous", "clicks", "signs", "age"):
            state[name][who] = 0
        state["gamma"][who] = torch.where(draws.chance(0.3, count), draws.log_uniform(0.5, 2.0, count), 1.0)
        state["inverted"][who] = draws.chance(0.3, count)
        state["stretched"][who] = draws.chance(0.6, count)
        state["noise"][who] = draws.log_uniform(0.002, 0.08, count) * draws.chance(0.3, count)
        targets = self.pool.take(state["index"][who]).targets
        state["bit"][who] = draws.integers(0, TARGETS, count)
        target = self._target(targets, who)
        other = draws.integers(0, TARGETS, count)
        rival = ((targets >> each(other, self._dims)) & 1)[:, None].float()
        better = draws.chance(_COMPACT, count) & (compactness(rival[:, 0]) > compactness(target[:, 0]))
        state["bit"][who] = torch.where(better, other, state["bit"][who])
        target = torch.where(each(better, self._dims + 1), rival, target)
        self._set_views(who, view_targets(draws, target))
        self._look(who)
        self._start(who)

    def _start(self, who: Tensor) -> None:
        """First prompts: a click, a box, both, strokes, a lasso, or a mask that has to be corrected."""
        state, draws = self.state, self._draws
        kinds = draws.choice(_STARTS, len(who))
        chosen = {kind: who[[i for i, k in enumerate(kinds) if k == kind]] for kind in _STARTS}
        clicked = torch.cat([chosen["click"], chosen["box and click"]])
        if len(clicked) > 0:
            self._add_clicks(clicked, self._scattered(clicked, simulated.click(draws, state["truth"][clicked])[0]))
        boxed = torch.cat([chosen["box"], chosen["box and click"]])
        if len(boxed) > 0:
            state["box"][boxed] = simulated.box(draws, state["truth"][boxed])
        if len(chosen["strokes"]) > 0:
            truth = state["truth"][chosen["strokes"]]
            regions = torch.cat([truth, simulated.beside(draws, truth)])  # at once: a GPU waits for every call
            positive, negative = simulated.strokes(draws, regions).chunk(2)
            both = each(draws.chance(0.6, len(truth)), self._dims + 1)
            state["positive"][chosen["strokes"]], state["negative"][chosen["strokes"]] = positive, both * negative
        if len(chosen["lasso"]) > 0:
            state["positive"][chosen["lasso"]] = simulated.lasso(draws, state["truth"][chosen["lasso"]])
        if len(chosen["mask"]) > 0:
            truth = state["truth"][chosen["mask"]]
            state["previous"][chosen["mask"]] = simulated.spoilt(draws, truth)
            where, found = simulated.click(draws, (state["previous"][chosen["mask"]] - truth).abs())
            self._add_clicks(chosen["mask"][found], self._scattered(chosen["mask"], where))

    def _scattered(self, who: Tensor, values: Tensor) -> Tensor:
        """Values (len(who),) at their slots' places in (count,)."""
        return torch.zeros(self.count, dtype=values.dtype, device=values.device).index_put((who,), values)

    def _look_again(self, who: Tensor, mask: Tensor) -> None:
        """Zoom these slots to what is segmented or should be, as a predictor chooses its region anew."""
        state = self.state
        if len(who) == 0:
            return
        old = self._views(who)
        new = view_again(self._draws, old, torch.maximum(mask[who], state["truth"][who]))
        for name in ("box", "positive", "negative", "previous"):
            moved = resample(state[name][who], old, new)
            state[name][who] = moved if name == "previous" else (moved > 0.5).float()
        self._set_views(who, new)
        self._look(who)

    def _look(self, who: Tensor) -> None:
        """Sample image and truth of these slots' views."""
        state, draws = self.state, self._draws
        chunk, views = self.pool.take(state["index"][who]), self._views(who)
        image = sample(chunk.images[:, None].float() / 255, views, self.size, border=True)
        some = image.flatten(1)[:, :: max(1, image[0].numel() // 4000)]
        low, high = torch.quantile(some, torch.tensor([0.003, 0.997], device=image.device), dim=1)
        stretched = state["stretched"][who]
        low, high = torch.where(stretched, low, 0.0), torch.where(stretched, high, 1.0)
        ones = self._dims + 1
        image = ((image - each(low, ones)) / each(high - low + 1e-3, ones)).clamp(0.0, 1.0)
        image = image.pow(each(state["gamma"][who], ones))
        image = torch.where(each(state["inverted"][who], ones), 1.0 - image, image)
        noise = draws.normal(*image.shape)
        state["image"][who] = (image + each(state["noise"][who], ones) * noise).clamp(0.0, 1.0)
        truth = sample(self._target(chunk.targets, who), views, self.size, border=False)
        state["truth"][who] = (truth > 0.5).float()

    def _target(self, bits: Tensor, who: Tensor) -> Tensor:
        """Masks (len(who), 1, *S) of these slots' targets."""
        return ((bits >> each(self.state["bit"][who], self._dims)) & 1)[:, None].float()

    def _views(self, who: Tensor) -> Views:
        return Views(self.state["center"][who], self.state["half"][who], self.state["rotation"][who])

    def _set_views(self, who: Tensor, views: Views) -> None:
        self.state["center"][who] = views.center
        self.state["half"][who] = views.half
        self.state["rotation"][who] = views.rotation

    def _add_clicks(self, who: Tensor, where: Tensor) -> None:
        """Clicks of these slots at flat indices; where (count,) has one for every slot."""
        if len(who) == 0:
            return
        state, dims = self.state, self._dims
        powers = torch.tensor([self.size**power for power in reversed(range(dims))], device=where.device)
        voxels = (where[who][:, None] // powers) % self.size
        points = (2 * voxels.float() + 1) / self.size - 1.0
        inside = state["truth"][who].flatten(1).gather(1, where[who][:, None])[:, 0] > 0.5
        free = (state["signs"][who] != 0).sum(1).clamp(max=_MOST_CLICKS - 1)
        state["clicks"][who, free] = self._views(who).to_image(points[:, None])[:, 0]
        state["signs"][who, free] = torch.where(inside, 1.0, -1.0)

    def _click_maps(self) -> tuple[Tensor, Tensor]:
        """Clicks that the views show, positive and negative, one voxel each."""
        state = self.state
        views = Views(state["center"], state["half"], state["rotation"])
        voxels = ((views.from_image(state["clicks"]) + 1.0) / 2 * self.size).floor().long()
        shown = ((voxels >= 0) & (voxels < self.size)).all(2)
        maps = []
        for sign in (1.0, -1.0):
            marks = torch.zeros_like(state["image"])
            slot, number = (shown & (state["signs"] == sign)).nonzero(as_tuple=True)
            marks[(slot, torch.zeros_like(slot), *voxels[slot, number].unbind(1))] = 1.0
            maps.append(marks)
        return maps[0], maps[1]
