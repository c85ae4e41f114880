"""A plot of the medians as SVG, written by hand: bars of CPU time and of wall time, with their spread."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.figures import Spread, spread
from bench.trials import Sample

_ROW, _LABEL, _BAR, _GAP = 22, 150, 280, 60
_COLOURS = {"cpu_s": "#31688e", "wall_s": "#8fb8d0"}
_TITLES = {"cpu_s": "client CPU, s", "wall_s": "wall, s"}


def svg(samples: Sequence[Sample]) -> str:
    """All trials one below the other, each with its own scales; a thin line goes from the least to the most."""
    body: list[str] = []
    y = 20
    for trial in dict.fromkeys(sample.trial for sample in samples):
        names = list(dict.fromkeys(sample.contender for sample in samples if sample.trial == trial))
        body.append(_text(8, y, trial, "bold"))
        for column, figure in enumerate(_COLOURS):
            body.append(_text(_LABEL + column * (_BAR + _GAP), y, _TITLES[figure]))
        y += 10
        for name in names:
            body.append(_text(8, y + 15, name))
            y += _ROW
        for column, figure in enumerate(_COLOURS):
            found = [spread(samples, trial, name, figure) for name in names]
            top = y - _ROW * len(names)
            body += _bars(found, _LABEL + column * (_BAR + _GAP), top, _COLOURS[figure])
        y += 34
    width = _LABEL + 2 * (_BAR + _GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}"'
    style = ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head + style, *body, "</svg>", ""])


def _bars(spreads: Sequence[Spread | None], x: int, top: int, colour: str) -> list[str]:
    scale = _BAR / max((s.most for s in spreads if s is not None), default=1.0)
    drawn = []
    for row, found in enumerate(spreads):
        if found is None:
            continue
        y = top + row * _ROW
        drawn.append(f'<rect x="{x}" y="{y + 3}" width="{found.median * scale:.1f}" height="16" fill="{colour}"/>')
        left, right = x + found.least * scale, x + found.most * scale
        drawn.append(f'<path d="M{left:.1f} {y + 11}H{right:.1f}" stroke="black" stroke-width="1"/>')
        drawn.append(_text(round(right) + 6, y + 15, f"{found.median:.2f}"))
    return drawn


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(text)}</text>'
