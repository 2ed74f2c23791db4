"""Draw the icons of the panel's buttons, in colours that are legible on light and on dark.

`python Resources/draw_icons.py [FOLDER]`; by default into PromptSeg/Resources/Icons. Needs PySide6.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QPainter, QPainterPath, QPen, QPolygonF

SIDE_PX = 64  # twice what a button shows, for screens of high density
GREY, GREEN, RED, BLUE, AMBER = (QColor(c) for c in ("#7f8c8d", "#27ae60", "#e74c3c", "#2e86de", "#e69500"))


def pen(color: QColor, width: float = 5, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    return QPen(color, width, style, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)


def stroke(painter: QPainter, points: list[tuple[float, float]], color: QColor, width: float = 5) -> None:
    painter.setPen(pen(color, width))
    painter.drawPolyline(QPolygonF([QPointF(*point) for point in points]))


def sign(painter: QPainter, positive: bool) -> None:
    """Draw a plus or a minus in a disc at the lower right."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(GREEN if positive else RED)
    painter.drawEllipse(QPointF(46, 46), 16, 16)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    stroke(painter, [(38, 46), (54, 46)], QColor("white"))
    if positive:
        stroke(painter, [(46, 38), (46, 54)], QColor("white"))


def point(painter: QPainter, positive: bool) -> None:
    painter.setPen(pen(GREY, 4))
    painter.drawEllipse(QPointF(27, 27), 19, 19)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(BLUE)
    painter.drawEllipse(QPointF(27, 27), 7, 7)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    sign(painter, positive)


def scribble(painter: QPainter, positive: bool) -> None:
    path = QPainterPath(QPointF(8, 40))
    path.cubicTo(16, 2, 24, 8, 26, 24)
    path.cubicTo(28, 42, 40, 30, 50, 10)
    painter.setPen(pen(BLUE, 8))
    painter.drawPath(path)
    sign(painter, positive)


def lasso(painter: QPainter, positive: bool) -> None:
    path = QPainterPath(QPointF(10, 30))
    path.cubicTo(4, 4, 34, 2, 46, 12)
    path.cubicTo(60, 24, 40, 44, 26, 44)
    path.cubicTo(18, 44, 12, 40, 10, 30)
    painter.setPen(pen(BLUE, 5, Qt.PenStyle.DotLine))
    painter.drawPath(path)
    sign(painter, positive)


def box_2d(painter: QPainter) -> None:
    painter.setPen(pen(BLUE))
    painter.drawRect(QRectF(10, 16, 44, 32))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(GREY)
    for x in (10, 54):
        for y in (16, 48):
            painter.drawEllipse(QPointF(x, y), 6, 6)


def box_3d(painter: QPainter) -> None:
    stroke(painter, [(8, 22), (8, 54), (40, 54), (40, 22), (8, 22), (24, 8), (56, 8), (56, 40), (40, 54)], BLUE)
    stroke(painter, [(40, 22), (56, 8)], BLUE)


def arrow_back(painter: QPainter) -> None:
    path = QPainterPath(QPointF(14, 24))
    path.lineTo(38, 24)
    path.cubicTo(60, 24, 60, 52, 38, 52)
    path.lineTo(24, 52)
    painter.setPen(pen(GREY, 6))
    painter.drawPath(path)
    stroke(painter, [(26, 12), (13, 24), (26, 36)], GREY, 6)


def arrow_on(painter: QPainter) -> None:
    painter.translate(SIDE_PX, 0)
    painter.scale(-1, 1)
    arrow_back(painter)


def check_and_go_on(painter: QPainter) -> None:
    stroke(painter, [(8, 34), (20, 48), (36, 16)], GREEN, 7)
    stroke(painter, [(44, 18), (56, 32), (44, 46)], GREY, 6)


def triangle(painter: QPainter) -> None:
    painter.setPen(pen(GREEN))
    painter.setBrush(GREEN)
    painter.drawPolygon(QPolygonF([QPointF(18, 12), QPointF(52, 32), QPointF(18, 52)]))


def square(painter: QPainter) -> None:
    painter.setPen(pen(RED))
    painter.setBrush(RED)
    painter.drawRect(QRectF(16, 16, 32, 32))


ICONS: dict[str, Callable[[QPainter], None]] = {
    "pointPlus": lambda painter: point(painter, True),
    "pointMinus": lambda painter: point(painter, False),
    "scribblePlus": lambda painter: scribble(painter, True),
    "scribbleMinus": lambda painter: scribble(painter, False),
    "lassoPlus": lambda painter: lasso(painter, True),
    "lassoMinus": lambda painter: lasso(painter, False),
    "box2d": box_2d,
    "box3d": box_3d,
    "undo": arrow_back,
    "redo": arrow_on,
    "next": check_and_go_on,
    "run": triangle,
    "cancel": square,
}


def draw(draw_on: Callable[[QPainter], None]) -> QImage:
    image = QImage(SIDE_PX, SIDE_PX, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    draw_on(painter)
    painter.end()
    return image


def main(folder: Path) -> None:
    application = QGuiApplication.instance() or QGuiApplication(["icons", "-platform", "offscreen"])
    for name, draw_on in ICONS.items():
        assert draw(draw_on).save(str(folder / f"{name}.png"))
    del application


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "PromptSeg" / "Resources" / "Icons")
