"""The ``imagecheck`` command. Checks are run by pytest (``pytest --image NAME``); this is everything around them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from imagecheck import __version__
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.options import STAGES


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
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    plan = commands.add_parser(
        "plan", help="what a run would build, fetch and boot, and what it costs; touches nothing"
    )
    plan.add_argument("name", nargs="+", help="a known definition, or the path of one")
    plan.add_argument("--stage", choices=STAGES, default=STAGES[-1], help="plan until after this stage")
    plan.add_argument("--qualify", action="store_true", help="with the checks that only a release needs")
    plan.set_defaults(command=_plan)
    build = commands.add_parser("build", help="build an image, or take it from the cache, and say where it is")
    build.add_argument("name", help="a known definition, or the path of one")
    build.add_argument("--rebuild", action="store_true", help="build all of it again, whatever is in the cache")
    build.add_argument("--yes", action="store_true", help="install the host packages that a build needs")
    build.set_defaults(command=_build)
    diff = commands.add_parser("diff", help="what changed between two images")
    diff.add_argument("a", help="a known definition (its image in the cache), or an image file")
    diff.add_argument("b", help="the other one")
    diff.add_argument("--json", action="store_true", help="for programs")
    diff.set_defaults(command=_diff)
    report = commands.add_parser("report", help="make report.html anew from the files beside it")
    report.add_argument(
        "folder", nargs="?", default="report", help="report/IMAGE, or the folder of several (default: %(default)s)"
    )
    report.set_defaults(command=_report)
    new = commands.add_parser("new-datastore", help="write element, definition and checks of a new datastore")
    new.add_argument("name", help="the datastore's name, in lower case")
    new.add_argument("--into", default=".", help="the folder that gets elements/, images/ and checks/ (default: here)")
    new.set_defaults(command=_new)
    garbage = commands.add_parser("gc", help="remove what earlier, dead runs left in a cloud")
    garbage.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    garbage.set_defaults(command=_gc)
    commands.add_parser("sandbox", help="up, down, status, shell, logs, reset, destroy", add_help=False)
    return parser


def _images(_: argparse.Namespace) -> int:
    from imagecheck import definition
    from imagecheck.build import obstacle

    known = [definition.load(name) for name in definition.known()]
    width = max((len(one.name) for one in known), default=0)
    reasons = []
    for one in known:
        why = obstacle(one)
        print(f"{one.name:<{width}}  {one.description}{' *' if why else ''}")
        if why and why not in reasons:
            reasons.append(why)
    for why in reasons:
        print(f"* {why}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from imagecheck import definition, plan

    for number, name in enumerate(options.name):
        if number:
            print()
        width = max(60, min(160, shutil.get_terminal_size((120, 24)).columns))
        print(
            "\n".join(plan.lines(plan.plan(definition.load(name), stage=options.stage, qualify=options.qualify), width))
        )
    return 0


def _build(options: argparse.Namespace) -> int:
    from imagecheck import build, definition

    file = build.build(definition.load(options.name), rebuild=options.rebuild, yes=options.yes)
    print(file.path)
    return 0


def _diff(options: argparse.Namespace) -> int:
    from imagecheck import choice, diff

    found = diff.compare(*(diff.of_image(choice.file_of(one)) for one in (options.a, options.b)))
    width = shutil.get_terminal_size((100, 24)).columns
    print(json.dumps(diff.as_json(found), indent=1) if options.json else "\n".join(diff.lines(found, width)))
    return 0


def _report(options: argparse.Namespace) -> int:
    from imagecheck.report import folders, html

    for folder in folders(Path(options.folder)):
        print(folder.write_page(html.page(*folder.documents())))
    return 0


def _new(options: argparse.Namespace) -> int:
    from imagecheck import datastore_template

    for file in datastore_template.write(options.name, Path(options.into)):
        print(file)
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
