"""Images to try the module with: Slicer's own public CT and MR."""

_SLICER_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
_SAMPLES = (
    ("CTChest", "CT-chest.nrrd", "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
    ("MRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
)


def registerSampleData():
    """Add Slicer's own public CT and MR to the category PromptSeg of the Sample Data module."""
    import SampleData

    for name, fileName, sha256 in _SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="PromptSeg",
            sampleName=name,
            uris=_SLICER_DATA + sha256,
            fileNames=fileName,
            checksums=f"SHA256:{sha256}",
            nodeNames=name,
        )
