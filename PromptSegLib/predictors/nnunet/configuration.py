"""How one network of nnU-Net's second version sees an image: what plans.json says of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.fields import Fields

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from PromptSegLib.geometry import Float32Array

    Mask = NDArray[np.bool_]

MOST_VOXELS = 1 << 28
_ANISOTROPIC = 3.0


@dataclass(frozen=True)
class Resampling:
    """How images, labels or answers are resampled.

    order: of the splines, 0 to 5. separate: whether slices are resampled one by one, the nearest taken across them;
    None where the spacings decide. threshold: ratio of the largest spacing to the smallest above which they do.
    by_torch: linearly, by torch's `interpolate`. is_none: not at all.
    """

    order: int
    separate: bool | None = None
    threshold: float = _ANISOTROPIC
    by_torch: bool = False
    is_none: bool = False

    @classmethod
    def of(cls, fields: Fields, what: str, order: int) -> Resampling:
        """Read `resampling_fn_{what}` of a configuration."""
        name = fields.text(f"resampling_fn_{what}", "resample_data_or_seg_to_shape")
        given = fields.get(f"resampling_fn_{what}_kwargs", dict, default={})
        options = Fields.of(f"{fields.where}, resampling_fn_{what}_kwargs", given)
        separate = options.get("force_separate_z", bool, type(None), default=None)
        threshold = options.number("separate_z_anisotropy_threshold", _ANISOTROPIC)
        if name == "no_resampling_hack":
            return cls(0, is_none=True)
        if name == "resample_torch_fornnunet":
            _expect(options, "mode", ("linear",), "linear")
            _expect(options, "aniso_axis_mode", ("nearest-exact",), "nearest-exact")
            return cls(1, separate, threshold, by_torch=True)
        if name not in ("resample_data_or_seg_to_shape", "resample_data_or_seg_to_spacing"):
            raise WeightsError(f"{fields.where}: expected a resampling of nnU-Net's own, got {name!r}")
        _expect(options, "order_z", (0,), 0)
        order = int(options.number("order", order))
        if not 0 <= order <= 5:
            raise WeightsError(f"{options.where}: expected an order of 0 to 5, got {order}")
        return cls(order, separate, threshold)

    def thick_axis(self, spacing_mm: NDArray[np.float64], target_mm: NDArray[np.float64]) -> int | None:
        """The one axis across which slices are resampled one by one, from `spacing_mm` to `target_mm`, or None."""
        thick = [s for s in (spacing_mm, target_mm) if s.max() / s.min() > self.threshold]
        if self.separate is not None:
            thick = [spacing_mm] if self.separate else []
        if not thick:
            return None
        coarsest = (thick[0].max() / thick[0] == 1).nonzero()[0]
        return int(coarsest[0]) if coarsest.size == 1 else None


def _expect(options: Fields, key: str, known: tuple[Any, ...], default: Any) -> None:
    if options.get(key, default=default) not in known:
        raise WeightsError(f"{options.where}: expected {key!r} to be {known[0]!r}, got {options.entries[key]!r}")


Normalise = Callable[["Float32Array", "Mask | None"], None]
"""Changes the float32 values of one channel in place; the mask is of what counts, None for all."""


@dataclass(frozen=True)
class Normalisation:
    """One channel's. scheme: nnU-Net's name. masked: only what is not background counts. numbers: of CT's scheme."""

    scheme: str
    masked: bool
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


SCHEMES = (
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)


@dataclass(frozen=True)
class Configuration:
    """What one network wants.

    name: such as "3d_fullres". spacing_mm: along the axes as nnU-Net has them after `transpose`, two for a network of
    slices. patch: its tile, likewise. architecture: as plans.json has it. previous: the configuration whose labels it
    sees beside the image, of a cascade. reader: nnU-Net's name of what reads images. transpose: which of the array's
    axes (k, j, i) comes first, second, third.
    """

    name: str
    spacing_mm: tuple[float, ...]
    patch: tuple[int, ...]
    normalisations: tuple[Normalisation, ...]
    data: Resampling
    labels: Resampling
    answers: Resampling
    architecture: Mapping[str, Any]
    previous: str | None
    reader: str
    transpose: tuple[int, int, int]

    @property
    def is_of_slices(self) -> bool:
        return len(self.patch) == 2

    @property
    def tile(self) -> tuple[int, int, int]:
        """What the network sees at a time, along all three axes."""
        k, j, i = (1, *self.patch)[-3:]
        return k, j, i

    @property
    def turns_to_ras(self) -> bool:
        """Whether images are turned to RAS order before all else."""
        return self.reader.endswith("WithReorient")

    @classmethod
    def of_plans(cls, plans: Fields, name: str, channels: int) -> Configuration:
        """Read the configuration `name` for images of as many channels.

        Raises:
            WeightsError: it is damaged, or says what cannot be.
        """
        fields = _with_parents(plans, name)
        spacing = fields.numbers("spacing", 2, 3, low=1e-3, high=1e4)
        patch = fields.whole_numbers("patch_size", len(spacing), low=1, high=4096)
        voxels = 1
        for n in patch:
            voxels *= n
        if voxels > MOST_VOXELS:
            raise WeightsError(f"{fields.where}: expected a patch of at most {MOST_VOXELS:,} voxels, got {patch}")
        transpose = plans.whole_numbers("transpose_forward", 3, high=2)
        if sorted(transpose) != [0, 1, 2]:
            raise WeightsError(f"{plans.where}: expected 'transpose_forward' to be an order of 0, 1, 2")
        previous = fields.get("previous_stage", str, type(None), default=None)
        a, b, c = transpose
        return cls(
            name=name,
            spacing_mm=spacing,
            patch=patch,
            normalisations=_normalisations(plans, fields, channels),
            data=Resampling.of(fields, "data", 3),
            labels=Resampling.of(fields, "seg", 1),
            answers=Resampling.of(fields, "probabilities", 1),
            architecture=_architecture(fields),
            previous=previous,
            reader=plans.text("image_reader_writer", "SimpleITKIO"),
            transpose=(a, b, c),
        )


def _with_parents(plans: Fields, name: str) -> Fields:
    """Return a configuration's entries, those that it inherits among them."""
    every = plans.table("configurations")
    chain: list[str] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted in chain:
            raise WeightsError(f"{every.where}: {wanted!r} inherits from itself")
        chain.append(wanted)
        wanted = every.table(wanted).get("inherits_from", str, default=None)
    entries: dict[str, Any] = {}
    for parent in reversed(chain):
        entries |= every.table(parent).entries
    return Fields(f"{every.where}, {name}", entries)


def _normalisations(plans: Fields, fields: Fields, channels: int) -> tuple[Normalisation, ...]:
    schemes = fields.sequence("normalization_schemes")
    masked = fields.sequence("use_mask_for_norm")
    if len(schemes) != channels or len(masked) != channels:
        raise WeightsError(f"{fields.where}: expected {channels} normalization_schemes, got {len(schemes)}")
    found = []
    for number, (scheme, uses_mask) in enumerate(zip(schemes, masked, strict=True)):
        if scheme not in SCHEMES:
            raise WeightsError(f"{fields.where}: expected normalization_schemes of nnU-Net's own, got {scheme!r}")
        numbers = {}
        if scheme == "CTNormalization":
            key = "foreground_intensity_properties_per_channel"
            key = key if key in plans.entries else "foreground_intensity_properties_by_modality"
            properties = plans.table(key).table(str(number))
            names = {"low": "percentile_00_5", "high": "percentile_99_5", "mean": "mean", "std": "std"}
            numbers = {ours: properties.number(theirs) for ours, theirs in names.items()}
        found.append(Normalisation(scheme, bool(uses_mask), **numbers))
    return tuple(found)


def _architecture(fields: Fields) -> Mapping[str, Any]:
    """Return the entry "architecture", made of those of plans before version 2.3 where there is none."""
    if "architecture" in fields.entries:
        return fields.table("architecture").entries
    dimensions = len(fields.sequence("patch_size"))
    convs = fields.sequence("n_conv_per_stage_encoder")
    kind = fields.text("UNet_class_name")
    first, most = fields.number("UNet_base_num_features"), fields.number("unet_max_num_features")
    return {
        "network_class_name": kind,
        "arch_kwargs": {
            "n_stages": len(convs),
            "features_per_stage": [int(min(first * 2**stage, most)) for stage in range(min(len(convs), 32))],
            "conv_op": f"torch.nn.Conv{dimensions}d",
            "kernel_sizes": fields.sequence("conv_kernel_sizes"),
            "strides": fields.sequence("pool_op_kernel_sizes"),
            "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage": convs,
            "n_conv_per_stage_decoder": fields.sequence("n_conv_per_stage_decoder"),
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
