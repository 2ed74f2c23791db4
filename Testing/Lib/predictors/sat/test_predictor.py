"""SAT behind the session: texts in, each in a target of its own, masks where the anatomy is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import strategies
import torch
from key_made_weights import shapes_and_aliases
from references import KEPT_HERE
from sampling import linear_back
from tiny_sat import TILE, key_made_sat, sat_that_knows, use_tiny_sat

from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.errors import Cancelled, PromptError, UnsupportedPromptError, VolumeError, WeightsError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.predictors.names.modality import modality_of
from PromptSegLib.predictors.names.tiling import slabs_of_half_steps
from PromptSegLib.predictors.published import filled
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.sat.predictor import SatNano, SatPro, language_note, read_vocabulary
from PromptSegLib.predictors.sat.preparation import prepare
from PromptSegLib.prompts import Box, ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Image, Volume
from PromptSegLib.weights.store import WeightsStore

AXES = {
    "upright": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, -1.0]),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": strategies.rotation(11),
}


def organs(axes="upright", shape_kji=(30, 70, 80)):
    """Return an image of two organs: 100 HU and 300 HU, in soft tissue of 10 HU. Voxels are the network's own."""
    array = np.full(shape_kji, 10, np.int16)
    k, j, i = (n // 6 for n in shape_kji)
    array[k : 2 * k, 2 * j : 4 * j, i : 4 * i] = 100
    array[3 * k : 5 * k, j : 3 * j, 3 * i : 5 * i] = 300
    array[3 * k : 5 * k, 4 * j : 5 * j, 3 * i : 5 * i] = 300
    directions = AXES[axes]
    # The network's voxels are 1 mm along R and A, and 3 mm along S, whichever axes of the array these are.
    along_ras = np.abs(directions).argmax(axis=0)
    spacing_mm = np.array([1.0, 1.0, 3.0])[along_ras]
    return Volume(array, affine_from_parts(spacing_mm, directions, (-20.0, 30.0, 40.0)))


def session_on(volume, **options):
    values, _ = prepare(volume.array, volume.grid, is_ct=True)
    tissue, liver, spleen = np.unique(values)
    assert tissue < liver < spleen
    return Session({"ct": volume}, SatNano(sat_that_knows(round(float(liver), 3), round(float(spleen), 3))), **options)


@pytest.mark.parametrize("axes", AXES)
def test_each_text_gets_the_structure_that_it_names_in_a_target_of_its_own(axes):
    volume = organs(axes)
    session = session_on(volume)
    keys = session.add_classes([TextPrompt("spleen"), TextPrompt("liver")])
    assert keys == ("spleen", "liver")
    np.testing.assert_array_equal(session.mask("liver"), volume.array == 100)
    np.testing.assert_array_equal(session.mask("spleen"), volume.array == 300)
    assert session.prediction.note == ""
    assert session.prediction.device == "cpu"
    session.undo()
    assert not session.mask("liver").any()
    assert not session.mask("spleen").any()


def test_a_box_and_a_click_say_which_part_is_meant_and_the_network_runs_once(monkeypatch):
    volume = organs()
    session = session_on(volume)
    model = session.predictor.loaded()
    runs = []
    masks = model.masks
    monkeypatch.setattr(model, "masks", lambda *a: runs.append(1) or masks(*a))
    session.add_classes([TextPrompt("spleen")])
    parts = volume.array == 300
    lower = parts.copy()
    lower[:, 44:] = False
    k, j, i = np.argwhere(lower)[0]
    session.add(Point(volume.grid.to_ras((i, j, k))))
    np.testing.assert_array_equal(session.mask_kji, lower)
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, parts)
    low, high = volume.grid.to_ras((0, 43.6, 0)), volume.grid.to_ras((79, 69, 29))
    session.add(Box.from_corners(low, high))
    np.testing.assert_array_equal(session.mask_kji, parts & ~lower)
    assert len(runs) == 1


def test_the_newest_text_of_a_target_counts_and_classes_are_texts_too():
    volume = organs()
    session = session_on(volume)
    session.add(TextPrompt("liver"))
    session.add(ClassPrompt("Spleen"))
    np.testing.assert_array_equal(session.mask_kji, volume.array == 300)


def test_an_image_smaller_than_the_tile_and_one_of_soft_tissue_alone_are_answered():
    small = organs(shape_kji=(12, 18, 24))
    session = session_on(small)
    session.add(TextPrompt("liver"))
    np.testing.assert_array_equal(session.mask_kji, small.array == 100)
    session = Session({"ct": Volume(np.full((6, 7, 8), 40, np.int16))}, SatNano(sat_that_knows(3.0, 5.0)))
    session.add(TextPrompt("liver"))
    assert not session.mask_kji.any()
    assert session.prediction.note == "'liver' was not found there"


def test_voxels_that_are_no_numbers_are_no_structure_and_spoil_no_other():
    volume = organs()
    array = volume.array.astype(np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    values, _ = prepare(volume.array, volume.grid, is_ct=True)
    model = sat_that_knows(*(round(float(level), 3) for level in np.unique(values)[1:]))
    session = Session({"ct": Volume(array, volume.ijk_to_ras)}, SatNano(model))
    session.add(TextPrompt("liver"))
    np.testing.assert_array_equal(session.mask_kji, volume.array == 100)


def test_tiles_and_chunks_of_texts_give_what_all_at_once_gives():
    rng = np.random.default_rng(5)
    volume = Volume(rng.normal(size=(36, 60, 70)).cumsum(axis=0).cumsum(axis=1) * 10,
                    affine_from_parts((1.3, 1.6, 2.2), strategies.rotation(8), (0, 0, 0)))  # fmt: skip
    values, sampling = prepare(volume.array, volume.grid, is_ct=False)
    assert min(values.shape[:2]) > TILE[0], "several tiles"
    model = key_made_sat()
    queries = model.queries(["liver", "left kidney", "spleen"], "mri")
    with torch.inference_mode():
        slabs = slabs_of_half_steps(
            torch.from_numpy(values)[None], lambda w: model._network(w, queries).sigmoid(), TILE
        )
        whole = torch.cat(list(slabs), dim=1).numpy()
    for held_bytes in (2**31, 1):
        model = key_made_sat(held_bytes=held_bytes)
        masks = list(model.masks(values, sampling, queries, CancelToken(), no_progress))
        for mask, probabilities in zip(masks, whole, strict=True):
            back = linear_back(sampling, probabilities, beyond=0.0)
            clear = abs(back - 0.5) > 1e-4
            np.testing.assert_array_equal(mask.read()[clear], (back > 0.5)[clear])
            assert 0.01 < mask.read().mean() < 0.99, "a text's mask is neither empty nor everything"
    assert not np.array_equal(masks[0].read(), masks[2].read())


def test_memory_is_held_for_the_texts_asked_and_the_layers_of_a_tile():
    assert key_made_sat(held_bytes=3 * 4 * 64 * 200 * 300)._queries_at_once((1000, 200, 300)) == 3
    assert key_made_sat(held_bytes=1)._queries_at_once((10, 10, 10)) == 1


def test_progress_rises_over_all_runs_and_a_run_can_be_cancelled():
    volume = organs()
    values, sampling = prepare(volume.array, volume.grid, is_ct=True)
    model = key_made_sat(held_bytes=1)
    queries = model.queries(["liver", "spleen"], "ct")
    seen, cancel = [], CancelToken()
    list(model.masks(values, sampling, queries, cancel, lambda fraction, what: seen.append(fraction)))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 4

    def stop(fraction, what):
        if fraction > 0.2:
            cancel.cancel()

    with pytest.raises(Cancelled):
        list(model.masks(values, sampling, queries, cancel, stop))


def test_a_background_thread_answers_alike():
    volume = organs("oblique")
    session = session_on(volume, executor=ThreadExecutor())
    session.add_classes([TextPrompt("liver")])
    assert session.wait(60)
    np.testing.assert_array_equal(session.mask_kji, volume.array == 100)
    session.close()


@pytest.mark.parametrize(
    ("name", "lowest", "expected"),
    [
        ("ct", 0, "ct"), ("MR", -1000, "mri"), ("flair", 0, "mri"), ("pet", 0, "pet"), ("us", 0, "us"),
    ],
)  # fmt: skip
def test_the_name_of_the_channel_tells_which_kind_of_image_it_is(name, lowest, expected):
    assert modality_of(Image({name: Volume(np.full((2, 3, 4), lowest))})) == (expected, True)


@pytest.mark.parametrize(("lowest", "modality", "kind"), [(-1000, "ct", "CT"), (0, "mri", "MR")])
def test_a_guessed_kind_of_image_is_told_with_the_answer(lowest, modality, kind):
    array = np.zeros((6, 7, 8), np.int16)
    array[0] = lowest
    image = Image(Volume(array))
    assert modality_of(image) == (modality, False)
    session = Session(image, SatNano(key_made_sat()))
    session.add(TextPrompt("liver"))
    assert f"taken for {kind}: name the image ct, mri, us or pet to say what it is" in session.prediction.note


@pytest.mark.parametrize("text", ["печень", "肝臓", "hígado", "Niere für links", "الكبد"])
def test_letters_that_english_lacks_are_refused_and_nothing_changes(text):
    session = session_on(organs())
    session.add(TextPrompt("liver"))
    before = session.mask_kji
    with pytest.raises(PromptError, match="expected the English name of a structure"):
        session.add(TextPrompt(text))
    np.testing.assert_array_equal(session.mask_kji, before)
    assert session.prompts() == (TextPrompt("liver"),)


def test_words_in_no_english_name_are_warned_of():
    for english in ("liver", "Left Kidney", "kidney_left", "T10 vertebra", "a tumour in the liver"):
        assert language_note(english) == ""
    for other in ("Leber", "linke Niere", "foie", "milza"):
        assert f"no word of {other!r} is in the table of English names" in language_note(other)
    session = session_on(organs())
    session.add(TextPrompt("Leber"))
    assert "understands English only" in session.prediction.note
    with pytest.raises(PromptError, match="got '123'"):
        language_note("123")


def test_what_it_cannot_answer_is_refused():
    session = session_on(organs())
    with pytest.raises(UnsupportedPromptError, match="got point-"):
        session.add(Point(tuple(session.image.grid.to_ras((3, 3, 3))), positive=False))
    with pytest.raises(PromptError, match="expected the name of a structure for segment, got none"):
        session.add(Point(tuple(session.image.grid.to_ras((3, 3, 3)))))
    colour = Volume(np.zeros((4, 5, 6, 3), np.uint8))
    with pytest.raises(VolumeError, match="expected one value in each voxel for 'sat-nano'"):
        Session(colour, SatNano(key_made_sat())).add(TextPrompt("liver"))
    with pytest.raises(VolumeError, match="expected a 3D image for 'sat-nano'"):
        Session(np.zeros((1, 8, 8)), SatNano(key_made_sat()))


def test_missing_weights_are_told_with_every_file_that_is_needed(tmp_path):
    for predictor in (SatNano, SatPro):
        with pytest.raises(WeightsError) as error:
            predictor(weights=WeightsStore(tmp_path))
        assert "huggingface.co/zzh99/SAT" in str(error.value)
        assert "vocab.txt" in str(error.value)


def test_a_wrong_vocabulary_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"without \[CLS\], \[SEP\], \[UNK\]"):
        read_vocabulary(path, 2)
    path.write_text("[UNK]\n[CLS]\n[SEP]\nliver\u2028\n", encoding="utf-8")
    assert read_vocabulary(path, 4)["liver\u2028"] == 3
    with pytest.raises(WeightsError, match=r"a vocabulary of 30527 word pieces, got .* of 4"):
        read_vocabulary(path, 30527)


def test_checkpoints_as_published_are_loaded_strictly(tmp_path, monkeypatch):
    use_tiny_sat(tmp_path, monkeypatch)
    volume = organs()
    session = Session({"ct": volume}, create_predictor("tiny_sat:TinySatNano"))
    session.add(TextPrompt("left kidney"))
    values, sampling = prepare(volume.array, volume.grid, is_ct=True)
    model = key_made_sat()
    [expected] = model.masks(values, sampling, model.queries(["left kidney"], "ct"), CancelToken(), no_progress)
    np.testing.assert_array_equal(session.mask_kji, expected.read())


def test_a_checkpoint_that_lacks_a_key_is_refused_naming_it(tmp_path, monkeypatch):
    path = use_tiny_sat(tmp_path, monkeypatch) / "sat_nano.pth"
    content = torch.load(path)
    del content["model_state_dict"]["module.projection_layer.0.weight"]
    torch.save(content, path)
    session = Session({"ct": organs()}, create_predictor("tiny_sat:TinySatNano"))
    with pytest.raises(WeightsError, match=r"projection_layer\.0\.weight"):
        session.add(TextPrompt("left kidney"))


@pytest.mark.parametrize(("kind", "keys"), [(SatNano, "sat_unet_deepsup"), (SatPro, "sat_unet_l_deepsup")])
def test_checkpoints_of_the_published_sizes_are_read_strictly(kind, keys):
    official = {"vision": meta_tensors(keys), "text": meta_tensors("sat_text")}

    class Store(WeightsStore):
        def status(self, name):
            return replace(super().status(name), state="ready")

        def state_dict(self, name, *others):
            file = self.checkpoint(name).file(*others)
            return file.layout.rename(official["text" if "text_encoder" in file.path else "vision"])

    store = Store()
    network, encoder = kind(weights=store)._networks()
    vision, text, vocabulary = (file.path for file in store.checkpoint(kind.capabilities.name).files)
    assert vocabulary == "vocab.txt"
    name = kind.capabilities.name
    filled(network, store.state_dict(name, vision))
    filled(encoder, store.state_dict(name, text))
    assert all(parameter.is_meta for parameter in (*network.parameters(), *encoder.parameters()))
    assert not any(buffer.is_meta for buffer in encoder.buffers()), "what no checkpoint holds has its values"
    del official["vision"]["projection_layer.0.weight"]
    with pytest.raises(WeightsError, match="1 missing: projection_layer"):
        filled(network, store.state_dict(name, vision))


def meta_tensors(keys):
    shapes, _ = shapes_and_aliases(KEPT_HERE / f"{keys}_keys.json")
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in shapes.items()}
