"""Render a self-contained HTML page from a template; everything put on it is made safe first."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.reports.printable import printable
from unmask.pipeline.reports.tables import number, plain
from unmask.pipeline.scores.metrics import Measure

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """jinja2 with autoescape for every template, unknown names refused, control characters written
    out.
    """
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters |= {"number": number, "plain": plain}
    made.tests |= {"measure": lambda value: isinstance(value, Measure)}
    return made


def _visible(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def page(template: str, **values: object) -> str:
    """One rendered page. Raises jinja2.UndefinedError when the template wants a value that is not
    given.
    """
    return environment().get_template(template).render(version=own_version(), **values)


def write_page(path: Path, template: str, **values: object) -> None:
    """Render and put the file in place by one rename."""
    write_whole(path, page(template, **values).encode())


def own_version() -> str:
    """The installed version of unmask, or "from source"."""
    try:
        return version("unmask")
    except PackageNotFoundError:
        return "from source"
