"""What every widget is made of: controls, a picture, and a line of numbers under it.

A `Panel` ties controls to a pure function that returns a `matplotlib.figure.Figure`. The picture is an
`ipywidgets.Image` whose PNG bytes are replaced in place: nothing flickers, and no figure stays in memory. All
controls are ipywidgets' own, so the Tab and arrow keys reach and move them.
"""

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ctxlstm import figures

DPI = 130  # of the PNG; it is shown at 100 pixels an inch, so that it stays sharp on a dense screen
LABEL = {"description_width": "8.5em"}  # wide enough for every label of the book, so that none is cut


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches, in the book's style and unknown to pyplot, to be drawn in a `with` block.

    It has no layout engine, which would take longer than everything else: place the axes with
    `figure.add_axes` or `figure.subplots(gridspec_kw={"left": .., ...})`.
    """
    with plt.rc_context(
        figures.style() | {"axes.titley": 1.0}
    ):  # placing titles automatically takes a tenth of the time
        figure = Figure(figsize=(width, height))
        yield figure
        # Ticks take their style when they are made, at the latest at the first drawing: make them while it
        # holds.
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_major_ticks(len(axis.get_majorticklocs()))


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as PNG bytes, in the book's style."""
    buffer = io.BytesIO()
    with plt.rc_context(figures.style()):
        figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def slider(
    description: str, value: float, low: float, high: float, step: float = 0.1, **options: Any
) -> ipywidgets.Widget:
    """A slider with its value beside it, which redraws while it moves; whole numbers if `step` is an int."""
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    numbers = {} if isinstance(step, int) else {"readout_format": "+.1f"}
    layout = ipywidgets.Layout(width="23em", max_width="100%")
    options = {"continuous_update": True, "layout": layout, "style": LABEL, **numbers, **options}
    return kind(value=value, min=low, max=high, step=step, description=description, **options)


def choice(description: str, value: Any, options: Sequence | Mapping, **more: Any) -> ipywidgets.Dropdown:
    """A drop-down list; `options` is a list of values, or {text: value}."""
    options = list(options.items()) if isinstance(options, Mapping) else list(options)
    layout = ipywidgets.Layout(width="23em", max_width="100%")
    more = {"layout": layout, "style": LABEL, **more}
    return ipywidgets.Dropdown(options=options, value=value, description=description, **more)


def toggles(
    description: str, value: Any, options: Sequence | Mapping, **more: Any
) -> ipywidgets.ToggleButtons:
    """A row of buttons, one of them pressed; `options` is a list of values, or {text: value}."""
    options = list(options.items()) if isinstance(options, Mapping) else list(options)
    more = {"style": {**LABEL, "button_width": "auto"}, **more}
    return ipywidgets.ToggleButtons(options=options, value=value, description=description, **more)


def minus(text: str) -> str:
    """The text with a true minus sign before every negative number."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


class Panel(ipywidgets.VBox):
    """Controls, the picture below them, the numbers under it; moving any control redraws both.

    Args:
        draw: pure function, state as keyword arguments -> Figure.
        controls: {keyword of `draw`: a control with a `value`}, in the order of the Tab key.
        numbers: pure function, the same keyword arguments -> a short piece of HTML under the picture; also the
            text that a screen reader reads for the picture.
        columns: controls side by side; they wrap where the page is narrow.
        reset: add a button that puts every control back to its first value.

    The message of a ValueError or OSError from `draw` or `numbers` appears under the picture, which then
    stays as it was. For tests and for code: `controls`, `picture` (Image), `numbers` (HTML), and
    `set(**values)`.
    """

    def __init__(
        self,
        draw: Callable[..., Figure],
        controls: Mapping[str, ipywidgets.Widget],
        numbers: Callable[..., str] | None = None,
        *,
        columns: int = 2,
        reset: bool = False,
    ) -> None:
        self.draw, self.describe, self.controls = draw, numbers, dict(controls)
        self.first = {name: control.value for name, control in self.controls.items()}
        self.picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        self.picture.layout.object_fit = "contain"
        self.numbers = ipywidgets.HTML(layout=ipywidgets.Layout(max_width="100%"))
        self._held = False
        for control in self.controls.values():
            control.observe(self._moved, names="value")
        items = list(self.controls.values())
        if reset:
            button = ipywidgets.Button(description="Start again", tooltip="put every control back")
            button.on_click(lambda _: self.set(**self.first))
            items.append(button)
        rows = [
            ipywidgets.HBox(items[at : at + columns], layout=ipywidgets.Layout(flex_flow="row wrap"))
            for at in range(0, len(items), columns)
        ]
        self.update()
        super().__init__([*rows, self.picture, self.numbers])

    @property
    def state(self) -> dict[str, Any]:
        """The current keyword arguments of `draw`."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values: Any) -> None:
        """Move several controls and redraw once."""
        if unknown := sorted(set(values) - set(self.controls)):
            raise ValueError(f"no control {', '.join(unknown)}: choose from {', '.join(self.controls)}")
        self._held = True
        try:
            for name, value in values.items():
                self.controls[name].value = value
        finally:
            self._held = False
        self.update()

    def update(self) -> None:
        """Redraw the picture and the numbers."""
        try:
            text = self.describe(**self.state) if self.describe else ""
            figure = self.draw(**self.state)
        except (ValueError, OSError) as error:
            self.numbers.value = f'<p role="alert" style="color: #B00020">{html.escape(str(error))}</p>'
            return
        width = f"{100 * figure.get_figwidth():.0f}px"
        if self.picture.layout.width != width:
            self.picture.layout.width = width
        self.picture.value = png(figure)
        # A screen reader reads this text for the picture: JupyterLab shows no Image that has a tooltip.
        self.numbers.value = f'<div role="status" style="line-height: 1.5">{text}</div>'

    def _moved(self, change: Any) -> None:
        if not self._held:
            self.update()
