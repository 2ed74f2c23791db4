"""Images and segmentations as files."""

from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.reading import open_image, read_volume
from PromptSegLib.io.segment import Segment
from PromptSegLib.io.segmentation import flatten, segmentation_format, write_segmentation

__all__ = [
    "ImageFile",
    "Segment",
    "flatten",
    "open_image",
    "read_volume",
    "segmentation_format",
    "write_segmentation",
]
