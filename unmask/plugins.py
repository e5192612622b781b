"""Doors for other people's parts: what installed packages offer under the entry-point groups
`unmask.models`, `unmask.datasets`, `unmask.metrics`, `unmask.perturbations` and `unmask.commands`.

    [options.entry_points]              of somebody's package
    unmask.models =
        tiny = their_package:Tiny       name = module:object

Listing offers reads metadata and imports nothing; an offer is imported when it is used. Only
installed distributions count: metadata that lies in the working directory, or beside the program
that was started, could have come with somebody's data.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # 25 ms of every start, for nothing where no package offers anything
    from importlib.metadata import Distribution, EntryPoint

KINDS = ("models", "datasets", "metrics", "perturbations", "commands")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST = 300
MOST_BYTES = 1_000_000

_TAKEN: set[Offer] = set()


class PluginError(Exception):
    """Somebody's package cannot be used; one line that names the package, shown to the user."""


@dataclass(frozen=True)
class Offer:
    """One thing that an installed package offers.

    kind: models, datasets, metrics, perturbations or commands.
    name: what a user types.
    origin: distribution and version, e.g. `unmask-extra 1.0`.
    entry: where it lies; `load` imports it.
    clash: why the name cannot be used, or "".
    """

    kind: str
    name: str
    origin: str
    entry: EntryPoint
    clash: str = ""

    @property
    def title(self) -> str:
        """The offer in words, for messages: `model 'tiny' of package unmask-extra 1.0`."""
        return f"{self.kind.removesuffix('s')} {self.name!r} of package {self.origin}"

    def load(self) -> object:
        """Import it. Raises PluginError, whatever the package does wrong."""
        if self.clash:
            raise PluginError(f"{self.title} cannot be used: {self.clash}")
        try:
            return self.entry.load()
        # A package that ends the program while it is imported is as broken as one that raises.
        except (Exception, SystemExit) as error:
            raise self.fault(error) from error

    def fault(self, why: BaseException | str) -> PluginError:
        """The one line about what is wrong with it."""
        text = why if isinstance(why, str) else f"{type(why).__name__}: {why}"
        return PluginError(f"{self.title} cannot be used: {_one_line(text)}")


def offers(kind: str, taken: frozenset[str] = frozenset()) -> dict[str, Offer]:
    """Name -> what installed packages offer of a kind, sorted by name.

    taken: unmask's own names, which nobody else can have.
    """
    return _offers(kind, tuple(_places()), taken)


def take(
    kind: str,
    taken: frozenset[str],
    wanted: type,
    key: str,
    add: Callable[[Any], None],
    refusal: type[Exception],
) -> None:
    """Load what installed packages offer of a kind, each once a process, and hand it to `add`.

    taken: unmask's own names.
    wanted: what an offer must be an instance of, a dataclass with a field `origin`.
    key: its field that must be the offer's name.
    add: puts it into the table of its kind; raises `refusal` where it cannot stand there.
    An offer that cannot be used is one warning and costs nobody else anything.
    """
    for offer in offers(kind, taken).values():
        if offer in _TAKEN:
            continue
        _TAKEN.add(offer)
        try:
            thing: Any = offer.load()
            fits = isinstance(thing, wanted) and getattr(thing, key) == offer.name
            if not fits:
                raise offer.fault(f"it is no {wanted.__name__} with the {key} {offer.name!r}")
            add(replace(thing, origin=offer.origin))
        except (PluginError, refusal) as error:
            _warn("%s", error)


@cache
def _offers(kind: str, places: tuple[str, ...], taken: frozenset[str]) -> dict[str, Offer]:
    found: dict[str, Offer] = {}
    for distribution in _distributions(places):
        for entry in _entries(distribution, f"unmask.{kind}"):
            origin = _one_line(f"{distribution.name} {distribution.version}")
            if not NAME.fullmatch(entry.name):
                _warn("package %s: %r is no name for one of %s", origin, entry.name, kind)
                continue
            offer = Offer(kind, entry.name, origin, entry)
            if entry.name in taken:
                _warn("%s is not used: the name is unmask's own", offer.title)
            elif entry.name in found:
                both = f"{found[entry.name].origin} and {origin}"
                found[entry.name] = Offer(
                    kind, entry.name, both, entry, "two packages offer the name; uninstall one"
                )
            else:
                found[entry.name] = offer
    return dict(sorted(found.items()))


def _places() -> list[str]:
    """The folders of sys.path where things are installed: not the working directory, not the folder
    of the program that was started.
    """
    program = os.path.dirname(os.path.realpath(sys.argv[0])) if sys.argv and sys.argv[0] else ""
    strange = {os.path.realpath(os.getcwd()), program}
    return [path for path in sys.path if path and os.path.realpath(path) not in strange]


@cache
def _distributions(places: tuple[str, ...]) -> tuple[Distribution, ...]:
    """Distributions that mention one of our doors; one that stands in several places counts once,
    where Python would import it from.
    """
    found: dict[str, Distribution] = {}
    for folder in (folder for place in places for folder in _mentioning(place)):
        from importlib.metadata import Distribution
        from pathlib import Path

        try:
            distribution = Distribution.at(Path(folder))
            name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        except Exception as error:  # half-removed packages lack files, or hold no text
            _warn("%s has unreadable metadata: %s", _one_line(folder), _one_line(str(error)))
            continue
        found.setdefault(name, distribution)
    return tuple(found.values())


def _mentioning(place: str) -> list[str]:
    """The metadata folders in one folder of sys.path whose entry points have a group of ours."""
    try:
        names = sorted(os.listdir(place))
    except OSError:  # a zip file, or a folder that was removed
        return []
    found = []
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            try:
                with open(os.path.join(place, name, "entry_points.txt"), "rb") as file:
                    if b"[unmask." in file.read(MOST_BYTES):
                        found.append(os.path.join(place, name))
            except OSError:  # most packages offer nothing
                continue
    return found


def _entries(distribution: Distribution, group: str) -> list[EntryPoint]:
    try:
        return [entry for entry in distribution.entry_points if entry.group == group]
    except Exception as error:
        _warn("package %s has broken entry points: %s", distribution.name, error)
        return []


def _warn(text: str, *values: object) -> None:
    import logging  # only where there is something to say

    logging.getLogger(__name__).warning(text, *values)


def _one_line(text: str) -> str:
    """Text of a stranger, safe to print."""
    shown = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in shown)[:LONGEST]
