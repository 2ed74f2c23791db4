"""The classes of VISTA3D by their numbers (labels.json and the documentation published with its weights).

Names are those of the table of structures, where it has them. Of the 132 numbers, five are not supported.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = (
    *("liver", "kidney", "spleen", "pancreas", "right kidney", "aorta", "inferior vena cava"),
    *("right adrenal gland", "left adrenal gland", "gallbladder", "esophagus", "stomach", "duodenum", "left kidney"),
    *("urinary bladder", "", "portal and splenic vein", "", "small bowel", "lung", "bone", "brain", "lung tumour"),
    *("pancreas tumour", "hepatic vessel", "liver tumour", "colon tumour", "left lung upper lobe"),
    *("left lung lower lobe", "right lung upper lobe", "right lung middle lobe", "right lung lower lobe"),
    *(f"L{n} vertebra" for n in range(5, 0, -1)),
    *(f"T{n} vertebra" for n in range(12, 0, -1)),
    *(f"C{n} vertebra" for n in range(7, 0, -1)),
    *("trachea", "left iliac artery", "right iliac artery", "left iliac vein", "right iliac vein", "colon"),
    *(f"{side} rib {n}" for side in ("left", "right") for n in range(1, 13)),
    *("left humerus", "right humerus", "left scapula", "right scapula", "left clavicle", "right clavicle"),
    *("left femur", "right femur", "left hip bone", "right hip bone", "sacrum"),
    *("left gluteus maximus", "right gluteus maximus", "left gluteus medius", "right gluteus medius"),
    *("left gluteus minimus", "right gluteus minimus", "left deep back muscle", "right deep back muscle"),
    *("left iliopsoas", "right iliopsoas", "left atrial appendage", "brachiocephalic trunk"),
    *("left brachiocephalic vein", "right brachiocephalic vein", "left common carotid artery"),
    *("right common carotid artery", "costal cartilages", "heart", "left kidney cyst", "right kidney cyst"),
    *("prostate", "pulmonary vein", "skull", "spinal cord", "sternum", "left subclavian artery"),
    *("right subclavian artery", "superior vena cava", "thyroid gland", "S1 vertebra", "bone lesion"),
    *("", "", "", "airway"),
)

NUMBERS: Mapping[str, int] = {name: number for number, name in enumerate(_NAMES, start=1) if name}
"""The number of each class that is supported."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "kidney": ("left kidney", "right kidney"),
    "lung": tuple(name for name in _NAMES if name.startswith(("left lung ", "right lung "))),
    "bone": tuple(_NAMES[n - 1] for n in (*range(33, 57), *range(63, 98), 114, 120, 122)),
}
"""Classes that the network knows by their parts only."""

SPECIAL = frozenset((23, 24, 25, 26, 27, 57, 128))
"""Numbers of tumours, vessels and the trachea: clicks on them are told apart from clicks on what surrounds them."""
