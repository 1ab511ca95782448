"""The ``imagecheck`` command. Checks are run by pytest (``pytest --image NAME``); this is everything around them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from imagecheck import __version__
from imagecheck.errors import ImagecheckError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 when something failed; 2 for bad input; 130 after Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["sandbox"]:
            from imagecheck.sandbox import cli

            return cli.main(words[1:]) or 0
        options = _parser().parse_args(words)
        done: int = options.command(options)
        return done
    except UsageError as error:
        print(f"imagecheck: {error}", file=sys.stderr)
        return 2
    except ImagecheckError as error:
        print(f"imagecheck: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("imagecheck: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagecheck",
        description="Guest images for OpenStack Trove. To check one: pytest --image NAME",
        epilog="imagecheck sandbox ...: the one-folder OpenStack; see `imagecheck sandbox --help`.",
    )
    parser.add_argument("--version", action="version", version=f"imagecheck {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    images = commands.add_parser("images", help="the images that are known")
    images.set_defaults(command=_images)
    build = commands.add_parser("build", help="build an image, or take it from the cache, and say where it is")
    build.add_argument("name", help="a known definition, or the path of one")
    build.set_defaults(command=_build)
    garbage = commands.add_parser("gc", help="remove what earlier, dead runs left in a cloud")
    garbage.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    garbage.set_defaults(command=_gc)
    commands.add_parser("sandbox", help="up, down, status, shell, logs, reset, destroy", add_help=False)
    return parser


def _images(_: argparse.Namespace) -> int:
    from imagecheck import definition

    for name in definition.known():
        one = definition.load(name)
        print(f"{name:<20} {one.os} {one.release}, {one.datastore.name} {one.datastore.version}: {one.description}")
    return 0


def _build(options: argparse.Namespace) -> int:
    from imagecheck import build, definition

    file = build.build(definition.load(options.name))
    print(file.path)
    return 0


def _gc(options: argparse.Namespace) -> int:
    from imagecheck.cloud.cleanup import collect_garbage

    gone, left = collect_garbage(dry_run=options.dry_run)
    for line in left:
        print(line)
    if options.dry_run:
        print(f"would remove {len(left)}")
        return 0
    print(f"removed {gone}, left {len(left)}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
