"""Python packages that models need and Slicer lacks, installed where they are needed, with consent."""

import slicer
from slicer.i18n import tr as _

from PromptSegLib.packages import write_constraints


def install(package):
    """Install a Python package: torch as the PyTorch extension does it; no other may replace what Slicer has."""
    if package == "torch":
        try:
            import PyTorchUtils
        except ModuleNotFoundError as error:
            raise RuntimeError(_("Install the extension PyTorch in the Extensions Manager first.")) from error
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
        return
    constraints = write_constraints(slicer.app.temporaryPath)
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # before Slicer 5.11
        slicer.util.pip_install([package, "--constraint", str(constraints)])
    else:
        from packaging.requirements import Requirement

        pip_ensure([Requirement(package)], constraints=constraints, prompt_install=False, requester="PromptSeg")
