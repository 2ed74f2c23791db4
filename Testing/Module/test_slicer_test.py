"""The test that ctest runs inside Slicer passes on the stand-in as well."""

import sys
import unittest

from user import MODULE

FOLDER = MODULE.parents[1] / "Testing" / "Slicer"


def test_the_test_for_slicer_passes_here(slicer_app, views, model, monkeypatch):
    slicer_app.load_module(MODULE)
    monkeypatch.syspath_prepend(str(FOLDER))
    suite = unittest.defaultTestLoader.loadTestsFromName("PromptSegWidgetTest")
    assert suite.countTestCases() == 11
    result = unittest.TextTestRunner(stream=sys.stdout).run(suite)
    assert result.wasSuccessful()


def test_slicer_is_told_what_the_module_is(slicer_app):
    import slicer

    slicer_app.load_module(MODULE)
    parent = slicer.modules.promptseg
    assert parent.title == "PromptSeg"
    assert parent.categories == ("Segmentation",)
    assert "research use only" in parent.helpText


def test_sample_data_is_registered_once_slicer_has_started(slicer_app, monkeypatch):
    import types

    registered = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    slicer_app.load_module(MODULE)
    assert registered == []
    slicer_app.startupCompleted.emit()
    assert [source["sampleName"] for source in registered] == ["CTChest", "MRHead"]
    for source in registered:
        assert source["category"] == "PromptSeg"
        assert source["uris"].endswith(source["checksums"].removeprefix("SHA256:"))
