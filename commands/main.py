"""unmask's command line: finds the command, and turns every error into one clear line and an exit
code.

Exit codes: 0 all good; 1 our bug; 2 usage; 3 finished but some inputs failed; 4 cache, manifest or
checkpoint refused; 130 and 143 stopped by Ctrl-C or SIGTERM, and resumable. predict adds 10 (some
fake) and 11 (some unsure).
"""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys

import click

from unmask.pipeline.errors import EXIT_INTERRUPTED, EXIT_OK, PipelineError, UsageError
from unmask.plugins import Offer, PluginError, offers

# command -> (module, one line of help). A command's module, and torch with it, is imported only
# when it is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "extract": ("unmask.commands.extract", "Videos to face crops in the cache, and manifests."),
    "verify": (
        "unmask.commands.verify",
        "Check every byte of a cache; --repair redoes what is damaged.",
    ),
    "datasets": (
        "unmask.commands.datasets",
        "Known datasets: expected tree, counts, and a check of what is on disk.",
    ),
    "manifest": (
        "unmask.commands.manifest",
        "Check, merge, filter, audit or import manifests; receipts of crops.",
    ),
    "features": (
        "unmask.commands.features",
        "Features of a frozen encoder for every video of a manifest.",
    ),
    "train": ("unmask.commands.train", "Train a detector from a manifest."),
    "evaluate": (
        "unmask.commands.evaluate",
        "Score a manifest with a trained run, with intervals and a report.",
    ),
    "predict": ("unmask.commands.predict", "A verdict on your own videos."),
    "metrics": ("unmask.commands.metrics", "All metrics of a scores file, whoever made it."),
    "compare": (
        "unmask.commands.compare",
        "Is run A better than run B? DeLong's test on the same videos.",
    ),
    "board": (
        "unmask.commands.board",
        "Many scores files on many data sets side by side, with honest tests.",
    ),
    "runs": ("unmask.commands.runs", "A table of all training runs."),
    "models": ("unmask.commands.models", "The detectors: paper, parameters, cost, input."),
    "export": ("unmask.commands.export", "One manifest with its crops as one HDF5 file."),
    "export-model": ("unmask.commands.export_model", "A trained model as .pt2 or .onnx."),
    "demo": ("unmask.commands.demo", "Draw a small dataset and walk the whole road on it."),
    "doctor": (
        "unmask.commands.doctor",
        "Look for the usual traps on this machine, with the remedy for each.",
    ),
}


class LazyGroup(click.Group):
    """Loads a command's module when it is called, so that --help is quick and imports nothing
    heavy.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_offers()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            return importlib.import_module(COMMANDS[name][0]).command
        offer = _offers().get(name)
        return None if offer is None else _command_of(offer)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0] if args else "-"
        if not word.startswith("-") and word not in COMMANDS and word not in _offers():
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; commands are {', '.join(known)}"
            raise click.UsageError(f"no command '{word}'{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        if others := _offers():
            with formatter.section("Commands of installed packages"):
                formatter.write_dl([(name, offer.origin) for name, offer in others.items()])


def _offers() -> dict[str, Offer]:
    """Commands that installed packages offer under the entry-point group `unmask.commands`."""
    return offers("commands", frozenset(COMMANDS))


def _command_of(offer: Offer) -> click.Command:
    """Somebody's command, imported. Raises UsageError naming its package."""
    try:
        command = offer.load()
        if not isinstance(command, click.Command):
            raise offer.fault(f"{command!r:.80} is not a click command")
    except PluginError as error:
        raise UsageError(str(error)) from error
    return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="unmask", prog_name="unmask")
def unmask() -> None:
    """From a folder of videos to a face-crop cache one can trust, and from the cache to deepfake
    detectors.

    \b
    The road:  extract -> train -> evaluate -> predict
    First time? `demo` walks it on a small drawn dataset.
    """


def main(args: list[str] | None = None) -> int:
    """Run one command and return its exit code; no traceback for a user's mistake."""
    _open_closed_streams()
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return _run(args)
    finally:
        signal.signal(signal.SIGTERM, before)


def _open_closed_streams() -> None:
    """Give a job that was started with `>&-` or `2>&-` a stream to nowhere; libraries flush and
    fill what is there.

    Left closed, its number goes to the next file that is opened, and messages end up in a video's
    crops.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


def _stop(number: int, frame: object) -> None:
    """SIGTERM stops as Ctrl-C does, whatever the command is doing; train puts its own gentler way
    in place of it.
    """
    raise SystemExit(128 + number)


def _run(args: list[str] | None) -> int:
    stdout = sys.stdout
    try:
        result = unmask.main(args=args, prog_name="unmask", standalone_mode=False)
        return result if isinstance(result, int) else EXIT_OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        where = f" (see: {error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"unmask: {error.format_message()}{where}", err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"unmask: {error.format_message()}", err=True)
        return error.exit_code
    except PipelineError as error:
        click.echo(f"unmask: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("unmask: stopped; run the same command again to go on", err=True)
        return EXIT_INTERRUPTED
    except SystemExit:
        if sys.stdout is stdout:
            raise
        # `unmask ... | head`: nobody reads on, which is no fault. click puts another stdout there,
        # and exit code 1; keep Python's exit from complaining again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
