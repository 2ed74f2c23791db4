"""What the user is asked before weights are fetched or taken: a license, a file that nothing vouches for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PromptSegLib.weights.catalogue import Checkpoint, WeightFile
from PromptSegLib.weights.instructions import megabytes


@dataclass(frozen=True)
class ConsentQuestion:
    """One question about one checkpoint.

    about_license: its weights' license restricts their use, or none is stated, and it was not accepted yet.
    unverified: files whose SHA-256 nobody states; what comes the first time is trusted, and pinned from then on.
    """

    checkpoint: Checkpoint
    about_license: bool
    unverified: tuple[WeightFile, ...] = ()

    @property
    def text(self) -> str:
        """The question in full, for a dialog or a terminal."""
        checkpoint = self.checkpoint
        size = f", about {megabytes(checkpoint.likely_bytes)}" if checkpoint.likely_bytes else ""
        lines = [f"{checkpoint.title}{size}, from {checkpoint.code}"]
        if self.about_license:
            lines += [f"License of the weights: {checkpoint.weights_license}.", f"Cite: {checkpoint.citation}."]
        if self.unverified:
            names = ", ".join(file.path for file in self.unverified)
            lines.append(
                f"No hash is known for {names}: what the server sends now is trusted, and any later change refused."
            )
        return "\n".join([*lines, "Do you accept this?"])


Consent = Callable[[ConsentQuestion], bool] | bool
"""Answers a Question; True accepts whatever is asked, False nothing."""


def is_given(consent: Consent, question: ConsentQuestion) -> bool:
    """Whether the answer is yes; without anything to ask it is."""
    if not question.about_license and not question.unverified:
        return True
    return consent if isinstance(consent, bool) else consent(question)
