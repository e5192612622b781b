"""`models`: the table of detectors, or one detector stage by stage."""

from __future__ import annotations

import click

from unmask.models import list_models, model_class, model_row, typed_options
from unmask.models.options import option_defaults, option_types, type_text
from unmask.models.spec import ClipSpec
from unmask.pipeline.errors import UsageError
from unmask.pipeline.reports.printable import printable


@click.command("models")
@click.argument("name", required=False)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the model; repeatable.",
)
@click.option(
    "--depth",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Levels of modules to list.",
)
@click.option("--zoo", "releases", is_flag=True, help="Detectors that others released.")
def command(name: str | None, options: tuple[str, ...], depth: int, releases: bool) -> None:
    """The detectors: paper, parameters, cost, input. NAME lists one of them layer by layer."""
    if releases:
        if name is not None or options:
            raise UsageError("--zoo lists all releases; it takes no NAME and no --option")
        show_releases()
        return
    if name is None:
        if options:
            raise UsageError("--option needs the NAME of a model: models clrnet --option width=16")
        show_table()
        return
    try:
        show_model(name, options, depth)
    # a model refuses a combination of options, a side it cannot take, with ValueError in words
    except ValueError as error:
        raise UsageError(str(error)) from error


def show_table() -> None:
    """All detectors with their defaults, and on stderr those of broken packages."""
    head = ("name", "parameters", "GMACs", "input", "from the cache", "from", "what, paper")
    rows, broken = [head], []
    for name in list_models():
        try:
            rows.append(summary_row(name))
        except ValueError as error:  # ModelError, or what somebody's constructor raises in words
            broken.append(str(error))
    click.echo(table(rows, right=(1, 2)))
    click.echo(
        "\nGMACs: 10^9 multiply-accumulates for one clip. `models NAME` lists stages, options "
        "and recipes."
    )
    for line in broken:
        click.echo(f"unmask: {printable(line)}", err=True)


def show_releases() -> None:
    """The table of releases, and how one is used."""
    from unmask.pipeline.zoo.releases import RELEASES

    rows = [("name", "network", "crops", "licence")]
    rows += [
        (
            f"zoo:{name}",
            release.model,
            f"{release.profile.size} px, margin {release.profile.margin:g}",
            release.licence,
        )
        for name, release in RELEASES.items()
    ]
    click.echo(table(rows))
    for where in dict.fromkeys(release.where for release in RELEASES.values()):
        of_here = {n: release for n, release in RELEASES.items() if release.where == where}
        first = next(iter(of_here.values()))
        click.echo(f"\n{first.paper}")
        click.echo(f"  from     {where}")
        click.echo(f"  licence  {first.licence}: {first.terms}")
        for name, release in of_here.items():
            pinned = release.sha256[:12] or "not known to us"
            how = "fetched on first use" if release.url else f"to be put into zoo/{name}/"
            click.echo(f"  {name}: {release.file}, sha256 {pinned}, {how}")
            click.echo(f"    trained on {release.trained}")
    click.echo(
        "\nRead the licence, put the file there where it is not fetched, then:\n"
        "  predict VIDEO --model zoo:NAME --accept-licence NAME\n"
        "`evaluate --model zoo:NAME` wants crops as in the column: extract --size --margin."
    )


def summary_row(name: str) -> tuple[str, ...]:
    """One line of the table. Ours are counted by a test, others' now. Raises ModelError."""
    row = model_row(name)
    parameters, macs, spec = row.parameters, row.macs, row.spec
    if spec is None:
        from unmask.models.cost import measure_cost

        total = measure_cost(name).total
        parameters, macs, spec = total.parameters, total.macs, model_spec(name)
    return (
        name,
        f"{parameters:,}",
        f"{macs / 1e9:.2f}",
        f"{spec.frames} x {spec.size} px",
        needs(spec),
        printable(row.origin),
        printable("; ".join(words for words in (row.line, row.paper) if words)),
    )


def show_model(name: str, texts: tuple[str, ...], depth: int) -> None:
    """One detector: stages with shapes and counts, its options and recipes."""
    from unmask.models.cost import measure_cost
    from unmask.models.recipes.recipes import recipe_options, recipes_of

    cls = model_class(name)
    options = typed_options(name, texts)
    cost = measure_cost(name, depth, **options)
    row, spec = model_row(name), model_spec(name, **options)
    click.echo(f"{name}: {printable(row.line)}\n{printable(row.paper)}")
    if row.origin != "unmask":
        click.echo(f"from package {printable(row.origin)}")
    click.echo(
        f"input {' x '.join(map(str, cost.clip))} (B, T, C, H, W), norm {spec.norm}; cache: "
        f"{needs(spec)}\n"
    )
    rows = [("stage", "kind", "output", "parameters", "BN statistics", "MACs")]
    for stage in (*cost.stages, cost.total):
        indent = "  " * stage.name.count(".")
        shape = " x ".join(map(str, stage.output)) or "-"
        counts = (f"{stage.parameters:,}", f"{stage.statistics:,}", f"{stage.macs:,}")
        rows.append((f"{indent}{stage.name or 'total'}", stage.kind, shape, *counts))
    click.echo(table(rows, right=(3, 4, 5)))
    types, defaults = option_types(cls), option_defaults(cls)
    rows = [("option", "default", "values")]
    rows += [(option, str(defaults[option]), type_text(kind)) for option, kind in types.items()]
    click.echo("\n" + table(rows))
    if parts := getattr(cls, "backbones", None):
        click.echo("\n" + table([("backbone", "timm", "licence of its weights"), *parts()]))
    rows = [("recipe", "lr", "batch", "epochs", "options", "source")]
    for recipe, values in recipes_of(name).items():
        own = " ".join(f"{key}={value}" for key, value in recipe_options(name, recipe).items())
        counts = (f"{values.lr:g}", str(values.batch), str(values.epochs))
        rows.append((recipe, *counts, own or "-", values.source))
    click.echo("\n" + table(rows, right=(1, 2, 3)))


def model_spec(name: str, **options: object) -> ClipSpec:
    """A model's spec, without drawing a single weight."""
    import torch

    from unmask.models import create_model

    with torch.device("meta"):
        return create_model(name, **options).spec


def needs(spec: ClipSpec) -> str:
    """What a model takes from the cache: `consecutive(5), 240 px by crop`, bands and masks where
    it wants them.
    """
    kind = "coefficients" if spec.coefficients else "bands"
    extra = [f"{kind} {spec.bands}"] if spec.bands else []
    extra += ["masks"] if spec.masks else []
    return ", ".join([f"{spec.mode}({spec.frames})", f"{spec.size} px by {spec.fit}", *extra])


def table(rows: list[tuple[str, ...]], right: tuple[int, ...] = ()) -> str:
    """Rows as columns two spaces apart; the first row is the head; `right`: columns of numbers."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if n in right else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
