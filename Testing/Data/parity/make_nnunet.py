"""Make nnunet.npz: what nnU-Net's own predictor answers for the cases of Testing/support/nnunet_folders.py.

    python Testing/Data/parity/make_nnunet.py [FOLDER]

Writes nnunet.npz beside this script, or into FOLDER. Needs nnunetv2. Whole files go in; of the probabilities every
second voxel is kept, of the labels all.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
import nnunet_folders


def official(folder, images, previous, *, mirror):
    """Return nnU-Net's (labels, probabilities) of one case, from files."""
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(0.5, True, mirror, False, torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    reader = recursive_find_reader_writer_by_name(predictor.plans_manager.plans["image_reader_writer"])()
    image, properties = reader.read_images([str(path) for path in images])
    labels, probabilities = predictor.predict_single_npy_array(image, properties, previous, None, True)
    if "Reorient" in type(reader).__name__:  # undone as its `write_seg` does, for the cases' flips of x and y
        labels, probabilities = labels[:, ::-1, ::-1], probabilities[:, :, ::-1, ::-1]
    return labels, probabilities


def answers(root, name, *, mirror):
    folder = nnunet_folders.write_results(Path(root, name), name)
    _, dataset, trained = nnunet_folders.parts_of(name)
    images = nnunet_folders.write_images(root, name, len(dataset["channel_names"]))
    previous = None
    if len(trained) > 1:
        before = folder.with_name(folder.name.replace(trained[0], trained[1]))
        previous = official(before, images, None, mirror=mirror)[0][None].astype(np.int16)
    return official(folder, images, previous, mirror=mirror)


def main(target):
    torch.set_num_threads(1)
    kept = {}
    for name in nnunet_folders.kinds():
        for mirror in (False, True) if "mirror_axes" in nnunet_folders.kinds()[name] else (False,):
            with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                labels, probabilities = answers(root, name, mirror=mirror)
            key = f"{name}_mirrored" if mirror else name
            kept[f"{key}_labels"] = labels.astype(np.uint8)
            kept[f"{key}_probabilities_s2"] = probabilities[:, ::2, ::2, ::2].astype(np.float32)
            print(key, labels.shape, np.bincount(labels.ravel()), probabilities.max(axis=(1, 2, 3)))
    np.savez_compressed(Path(target, "nnunet.npz"), **kept)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
