"""Worklist: a case accepted or rejected, and where in it to look next."""

from slicer.i18n import tr as _

from PromptSegLib.imaging.doubt import next_doubt, with_corrections
from PromptSegLib.mrml.look_at import look_at
from PromptSegLib.mrml.segment_masks import segment_mask
from PromptSegLib.mrml.volumes import volume_from_node
from PromptSegLib.worklist.case import CaseState
from PromptSegWidgets.section import Section


class ReviewSection(Section):
    def connect(self):
        self._seen = {}  # places that were looked at, by the segment's name
        self._counts = {}  # how many prompts each segment had

    def actions(self):
        return {
            "accept": lambda: self.decide(CaseState.ACCEPTED),
            "reject": lambda: self.decide(CaseState.REJECTED),
            "lookNext": self.onLookNext,
        }

    def begin(self):
        """Begin with another case."""
        self._seen, self._counts = {}, {}
        self.ui.commentEdit.text = self.logic.case.worklist.current.comment

    def takePrompts(self, target):
        """Count what was clicked and drawn."""
        if self.logic.case is None or self.session is None:
            return
        count = len(self.session.prompts(target))
        self.logic.case.clicks += max(count - self._counts.get(target, 0), 0)
        self._counts[target] = count

    def show(self):
        if self.panel.worklist.openCaseNow is not None:
            self.logic.case.stopwatch.touch()

    def decide(self, state):
        """Record what becomes of the case, and go on with the next one that the table shows."""
        worklist = self.panel.worklist
        following = worklist.beside(1)
        self.logic.case.decide(state, self.ui.commentEdit.text.strip())
        if following is not None:
            worklist.openCase(following)
        else:
            self.panel.setStatus(_("That was the last case of those shown."))

    @property
    def hasDoubt(self):
        """Whether it is known of a segment how sure a model is of each voxel."""
        if self.session is not None and self.session.certainty() is not None:
            return True
        case = self.panel.worklist.openCaseNow
        with self.panel.reporting():
            return bool(case and case.certainties())
        return False

    def onLookNext(self):
        """Go to the place where the segment is most probably wrong, of those not looked at yet."""
        found = []
        for name, probability_kji, mask_kji, grid in self._known():
            doubt = next_doubt(probability_kji, mask_kji, grid, self._seen.get(name, ()))
            if doubt is not None:
                found.append((doubt.weight, name, doubt))
        if not found:
            self._seen = {}
            self.panel.setStatus(_("No unsure place is left; the next press begins anew."))
            return
        _weight, name, doubt = max(found, key=lambda one: one[0])
        self._seen.setdefault(name, []).append(doubt.point_ras)
        view = look_at(doubt, self.parameters.volume, [view.slice_node for view in self.panel.sliceViews()])
        self.panel.setStatus(_("{name}: look in the middle of {view}.").format(name=name, view=view or _("the view")))

    def _known(self):
        """Yield the name of each segment of which it is known, how sure, and the mask in that box, and its grid."""
        session, case = self.session, self.panel.worklist.openCaseNow
        segmentation, volume = self.parameters.segmentation, self.parameters.volume
        if session is not None and session.certainty() is not None:
            certainty = session.certainty()
            name = segmentation.GetSegmentation().GetSegment(session.target).GetName()
            yield (
                name,
                certainty.probability_kji,
                session.mask(session.target, certainty.extent),
                session.image.grid.cropped(certainty.extent),
            )
            return
        grid = volume_from_node(volume).grid
        for name, certainty in case.certainties().items():
            if not segmentation.GetSegmentation().GetSegmentIdBySegmentName(name):
                continue
            mask = segment_mask(segmentation, name, volume)[certainty.extent.slices]
            probability = certainty.probability_kji
            if not case.is_as_proposed:
                probability = with_corrections(probability, mask)
            yield name, probability, mask, grid.cropped(certainty.extent)
