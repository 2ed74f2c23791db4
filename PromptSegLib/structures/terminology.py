"""Structures as DICOM codes them, in the form that Slicer keeps with a segment."""

from __future__ import annotations

from PromptSegLib.structures.names import Structure, all_structures

TAG = "TerminologyEntry"
"""Name of a segment's tag that holds what `terminology_entry` returns."""

_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS = "Anatomic codes - DICOM master list"
_CATEGORIES = {
    "anatomy": ("123037004", "Anatomical Structure"),
    "lesion": ("49755003", "Morphologically Altered Structure"),
}
_SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right"), "": ("", "")}
_NOTHING = ("", "")


def terminology_entry(structure: Structure) -> str:
    """Return the codes of a structure as Slicer writes them in one line; nothing when its code is not known.

    They are its category, its type with the side that it is on, and of a lesion the region that it is in.
    """
    if not structure.code:
        return ""
    region = all_structures().get(structure.region)
    where = [_NOTHING, _NOTHING]
    if region is not None and region.code:
        where = [(region.code, region.meaning), _SIDES[region.side]]
    codes = [_CATEGORIES[structure.kind], (structure.code, structure.meaning), _SIDES[structure.side]]
    return "~".join([_CONTEXT, *map(_code, codes), _REGIONS, *map(_code, where)])


def _code(value_and_meaning: tuple[str, str]) -> str:
    value, meaning = value_and_meaning
    return f"SCT^{value}^{meaning}" if value else "^^"
