"""VoxTell by its own package, with a small key-made network: its answers, and what keeps it from answering."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from tiny_voxtell import AXES, TEXTS, WIDTH, bank, image, official_predictor, plans, save_tiny_voxtell

from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.errors import Cancelled, PredictionError, PromptError, VolumeError, WeightsError
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.voxtell.embeddings import check_known, read_bank
from PromptSegLib.predictors.voxtell.local import LocalVoxTell, check_pins
from PromptSegLib.predictors.voxtell.predictor import VoxTell
from PromptSegLib.prompts import Box, ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume


@pytest.mark.parametrize("axes", AXES)
def test_masks_are_those_of_the_official_predictor_on_a_file(folder, tmp_path, axes):
    """Its reader turns the file to RAS, its writer turns the masks back: neither knows of our geometry."""
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    volume = image(axes)
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), volume.ijk_to_ras), path)
    seen, properties = NibabelIOWithReorient().read_images([str(path)])
    masks = official_predictor(folder).predict_single_image(seen, list(TEXTS))
    session = Session(volume, VoxTell(folder))
    targets = session.add_classes([TextPrompt(text) for text in TEXTS])
    for mask, target, text in zip(masks, targets, TEXTS, strict=True):
        NibabelIOWithReorient().write_seg(mask, str(tmp_path / "mask.nii.gz"), properties)
        expected = np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj).transpose(2, 1, 0)
        assert 0.02 < expected.mean() < 0.98, text
        np.testing.assert_array_equal(session.mask(target), expected.astype(bool))
    assert session.prediction.device == "cpu"


def test_probabilities_are_those_of_the_official_predictor(folder):
    values = image().array
    official = official_predictor(folder)
    data, box, _ = official.preprocess(values[None])
    expected = official.predict_sliding_window_return_logits(data, official.embed_text_prompts(list(TEXTS)))
    local = LocalVoxTell(folder, read_bank(folder / "text_embeddings.npz"), device="cpu")
    answers = list(local.logits(values, TEXTS, CancelToken(), no_progress))
    assert len(answers) == len(TEXTS)
    for (logits, part), wanted in zip(answers, expected, strict=True):
        assert [(side.start, side.stop) for side in part] == [tuple(side) for side in box]
        np.testing.assert_allclose(_sigmoid(logits), _sigmoid(wanted.numpy()), atol=5e-4)  # half precision's last bit


def _sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float32)))


def test_texts_that_do_not_fit_into_memory_together_take_several_runs(folder, monkeypatch):
    local = LocalVoxTell(folder, read_bank(folder / "text_embeddings.npz"), device="cpu")
    together = [logits for logits, _ in local.logits(image().array, TEXTS, CancelToken(), no_progress)]
    monkeypatch.setattr("PromptSegLib.predictors.voxtell.local._HELD_BYTES", 1)
    done = []
    apart = [a for a, _ in local.logits(image().array, TEXTS, CancelToken(), lambda part, what: done.append(part))]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-2)
    assert done == sorted(done)
    assert done[-1] == 1


def test_case_does_not_matter_and_names_of_structures_are_texts(folder):
    session = Session(image(), VoxTell(folder))
    session.add(TextPrompt("Liver"))
    mask = session.mask_kji.copy()
    session.add_classes([ClassPrompt("liver")])
    np.testing.assert_array_equal(session.mask_kji, mask)


def test_a_click_and_a_box_say_which_part_is_meant_and_run_nothing(folder, monkeypatch):
    predictor = VoxTell(folder)
    session = Session(image(), predictor)
    session.add(TextPrompt("liver"))
    whole = session.mask_kji.copy()
    monkeypatch.setattr(predictor._local, "logits", None)
    inside = np.argwhere(whole)[0]
    session.add(Point(session.image.grid.to_ras(inside[::-1])))
    assert 0 < session.mask_kji.sum() <= whole.sum()
    assert not (session.mask_kji & ~whole).any()
    session.undo()
    low, high = session.image.grid.bounds_ras
    session.add(Box.from_corners(low, (low + high) / 2))
    assert 0 < session.mask_kji.sum() < whole.sum()
    assert not (session.mask_kji & ~whole).any()


def test_a_click_of_another_model_corrects_the_answer(folder):
    session = Session(image(), VoxTell(folder))
    session.add(TextPrompt("liver"))
    before = session.mask_kji.copy()
    session.use("classical")
    outside = np.argwhere(~before)[len(np.argwhere(~before)) // 2]
    session.add(Point(session.image.grid.to_ras(outside[::-1])))
    assert session.mask_kji[tuple(outside)]
    assert (session.mask_kji | ~before).all(), "a positive click takes nothing away"


def test_a_text_without_a_stored_vector_names_those_that_are_near(folder):
    session = Session(image(), VoxTell(folder))
    with pytest.raises(PromptError, match=r"such as 'liver', got 'livers'.*weights get voxtell-text-encoder"):
        session.add(TextPrompt("livers"))
    assert session.prompts() == ()


@pytest.mark.parametrize("text", ["x" * 10_000, "liver " * 1700, "liver, spleen", "Leber", "肝臓", "a\nb"])
def test_any_text_without_a_stored_vector_is_refused_in_a_short_line(text):
    with pytest.raises(PromptError, match="weights get voxtell-text-encoder") as caught:
        check_known([TextPrompt(text).text], {"liver": np.zeros(2)})
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_other_words_go_to_the_text_encoder_where_it_is_here(folder, tmp_path):
    """A small model of the encoder's own class, from a folder alone: nothing is asked of the network."""
    from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

    encoder = tmp_path / "encoder"
    vocabulary = {"<|endoftext|>": 0, **{letter: n for n, letter in enumerate("abcdefghijklmnopqrstuvwxyzĠĊ:", 1)}}
    Qwen2Tokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>").save_pretrained(encoder)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen3Config(vocab_size=64, num_key_value_heads=1, head_dim=8, **sizes)
    torch.manual_seed(0)
    Qwen3Model(config).save_pretrained(encoder)
    session = Session(image(), VoxTell(folder, encoder=encoder))
    session.add(TextPrompt("a lesion that nobody stored"))
    assert 0 < session.mask_kji.mean() < 1


def test_a_prediction_is_cancelled_within_a_layer(folder):
    local = LocalVoxTell(folder, read_bank(folder / "text_embeddings.npz"), device="cpu")
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        list(local.logits(image().array, TEXTS, cancel, lambda part, what: cancel.cancel()))


def test_memory_that_runs_out_is_given_way_to_step_by_step(folder, monkeypatch):
    local = LocalVoxTell(folder, read_bank(folder / "text_embeddings.npz"), device="cpu")
    official = local._official
    local.device = torch.device("cuda")  # as far as the fall-back knows
    tried = []
    predict = official.predict_sliding_window_return_logits

    def short_of_memory(*arguments, **named):
        tried.append((local.device.type, official.perform_everything_on_device))
        if local.device.type == "cuda":
            raise RuntimeError("CUDA out of memory")
        return predict(*arguments, **named)

    monkeypatch.setattr(official, "predict_sliding_window_return_logits", short_of_memory)
    list(local.logits(image().array, TEXTS[:1], CancelToken(), no_progress))
    assert tried == [("cuda", True), ("cuda", False), ("cpu", False)]
    assert "memory ran out" in local.note


def test_colour_and_several_channels_are_refused(folder):
    with pytest.raises(VolumeError, match="expected one channel with one value in each voxel"):
        Session(Volume(np.zeros((4, 5, 6, 3), np.uint8)), VoxTell(folder)).add(TextPrompt("liver"))
    two = {"ct": Volume(np.zeros((4, 5, 6), np.int16)), "pet": Volume(np.zeros((4, 5, 6), np.int16))}
    with pytest.raises(VolumeError, match="got Image"):
        Session(two, VoxTell(folder)).add(TextPrompt("liver"))


# Weights and packages


def test_the_published_weights_are_taken_from_the_store(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    with pytest.raises(WeightsError, match="voxtell"):
        create_predictor("voxtell")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "voxtell").symlink_to(folder)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))
    session = Session(image(), "voxtell", device="cpu")
    session.add(TextPrompt("liver"))
    assert 0 < session.mask_kji.mean() < 1


def test_what_training_left_beside_the_weights_does_no_harm(tmp_path):
    folder = save_tiny_voxtell(tmp_path / "model", logging={"when": np.float64(1.5)}, optimizer_state=None)
    assert LocalVoxTell(folder, {}, device="cpu").device.type == "cpu"


def test_plans_that_name_something_else_than_layers_are_refused(tmp_path):
    plan = plans()
    plan["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["conv_op"] = "os.system"
    folder = save_tiny_voxtell(tmp_path / "model", plan)
    with pytest.raises(WeightsError, match="do not trust this file"):
        LocalVoxTell(folder, {}, device="cpu")


def test_weights_of_another_network_are_refused_in_a_line(tmp_path):
    folder = save_tiny_voxtell(tmp_path / "model", network_weights={"a": torch.zeros(3)})
    with pytest.raises(WeightsError, match="expected a VoxTell model") as caught:
        LocalVoxTell(folder, {}, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"labels": np.array(TEXTS)},
        {"labels": np.array(TEXTS[:2]), "embeddings": bank()},
        {"labels": np.arange(3), "embeddings": bank()},
        {"labels": np.array(TEXTS), "embeddings": bank() * np.float16(np.inf)},
        {"labels": np.array(TEXTS, dtype=object), "embeddings": bank()},
    ],
)
def test_files_that_hold_no_vectors_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "bank.npz", **arrays)
    with pytest.raises(WeightsError):
        read_bank(tmp_path / "bank.npz")


def test_packages_that_do_not_fit_together_are_told_in_a_line(monkeypatch):
    check_pins()
    monkeypatch.setattr(
        "PromptSegLib.predictors.voxtell.local.metadata.requires",
        lambda name: ["transformers<5,>=4.56", 'blosc2>=99; extra == "server"'],
    )
    with pytest.raises(PredictionError, match=r"expected transformers <5,>=4.56 for VoxTell, got 5\.") as caught:
        check_pins()
    assert "\n" not in str(caught.value)


def test_the_command_line_segments_by_text(folder, promptseg, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "voxtell").symlink_to(folder)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    volume = image("flipped")
    nibabel.save(nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), volume.ijk_to_ras), tmp_path / "ct.nii.gz")
    out = tmp_path / "out.nii.gz"
    command = ("segment", tmp_path / "ct.nii.gz", "-o", out, "--model", "voxtell", "--device", "cpu")
    outcome = promptseg(*command, "--text", "left kidney")
    assert outcome.status == 0
    session = Session(volume, VoxTell(folder))
    session.add(TextPrompt("left kidney"))
    written = np.asarray(nibabel.load(out).dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(written.astype(bool), session.mask_kji)
