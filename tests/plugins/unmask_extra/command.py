"""A command in ten lines."""

import click


@click.command("hello")
def command() -> int:
    """Say hello."""
    click.echo("hello from another package")
    return 0
