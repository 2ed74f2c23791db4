"""The tasks that UniSeg's published weights know (arXiv:2304.03493)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One of the tasks; its place in `TASKS` is the network's number for it.

    channels: names of the images that it sees, in the network's order. classes: names of the output channels after
    the first, which is the background. spacing_kji_mm: the voxel size along (z, y, x) it was trained at.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    spacing_kji_mm: tuple[float, float, float]


_CT_SPACING = (3.0, 1.5, 1.5)

TASKS = (
    Task("liver and tumour", ("ct",), ("liver", "liver tumour"), _CT_SPACING),
    Task("kidney and tumour", ("ct",), ("kidney", "kidney tumour"), _CT_SPACING),
    Task("hepatic vessel and tumour", ("ct",), ("hepatic vessel", "hepatic vessel tumour"), _CT_SPACING),
    Task("pancreas and tumour", ("ct",), ("pancreas", "pancreas tumour"), _CT_SPACING),
    Task("colon tumour", ("ct",), ("colon tumour",), _CT_SPACING),
    Task("lung tumour", ("ct",), ("lung tumour",), _CT_SPACING),
    Task("spleen", ("ct",), ("spleen",), _CT_SPACING),
    Task("vertebrae", ("ct",), ("vertebrae",), (4.0, 2.0, 2.0)),
    Task("prostate", ("t2",), ("prostate",), _CT_SPACING),
    Task(
        "brain tumour",
        ("t1", "t1ce", "t2", "flair"),
        ("brain edema", "non-enhancing brain tumour", "enhancing brain tumour"),
        (1.0, 1.0, 1.0),
    ),
    Task("whole-body tumour", ("ct", "pet"), ("whole-body tumour",), (8.0, 4.0, 4.0)),
)
