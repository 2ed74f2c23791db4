"""What can go wrong because of what was given, each a subclass of the builtin that fits.

An error's message says what was expected and what came; catch `PromptSegError` to catch them all.
"""


class PromptSegError(Exception):
    """Base of every error that PromptSeg raises on purpose."""


class GeometryError(PromptSegError, ValueError):
    """An affine, a shape or a frame that does not describe an image, or two that do not fit together."""


class VolumeError(PromptSegError, ValueError):
    """An array or a file that is no usable image."""


class FormatWarning(UserWarning):
    """A file was written that some program will not take for what it is."""


class SceneFileError(PromptSegError, OSError):
    """A scene that could not be written to a file, or a file from which no scene could be read."""


class PromptError(PromptSegError, ValueError):
    """A prompt that is malformed, or lies where it can mean nothing."""


class UnsupportedPromptError(PromptError):
    """A prompt that the chosen predictor does not take."""


class UnknownPredictorError(PromptSegError, KeyError):
    """A predictor's name that the registry does not hold."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class WeightsError(PromptSegError, OSError):
    """Weights that are missing, damaged, or not what the catalogue says."""


class ConsentError(PromptSegError, PermissionError):
    """Something that the user has to agree to first, such as sending an image to another machine."""


class PredictionError(PromptSegError, RuntimeError):
    """A predictor failed; `__cause__` holds what it raised. Prompts and masks are as they were before."""


class Cancelled(PromptSegError):  # noqa: N818 - an outcome that the caller asked for, not a fault
    """The prediction was cancelled, or a newer prompt took its place."""


class SceneError(PromptSegError, RuntimeError):
    """A node that is gone, or is not what it has to be."""
