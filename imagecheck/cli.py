"""The ``imagecheck`` command. Checks are run by pytest (``pytest --image NAME``); this is everything around them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from imagecheck import __version__, interrupts, outlets, redact
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.options import STAGES


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 when something failed; 2 for bad input; 3 when compare cannot tell; 130 after Ctrl-C."""
    redact.learn_named(os.environ)
    with outlets.streams(), outlets.guarded():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> int:
    try:
        if words[:1] == ["sandbox"]:
            from imagecheck.sandbox import cli

            return cli.main(words[1:]) or 0
        options = _parser().parse_args(words)
        with interrupts.handled(interrupts.TwoSteps(list)):
            done: int = options.command(options)
        return done
    except ImagecheckError as error:
        print(f"imagecheck: {redact.clean(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
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
    plan.add_argument("--launches", type=int, default=0, metavar="N", help="with a series of N launches of each")
    plan.add_argument("--kind", choices=("launch", "boot", "server"), default="launch", help="what a launch of it is")
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
    against = commands.add_parser(
        "compare", help="judge launches against others; exit code 1 REGRESSED, 3 INSUFFICIENT or INCOMPARABLE"
    )
    against.add_argument("a", metavar="A", help="samples (FILE.jsonl or FILE.jsonl:LABEL), or a baseline (.toml)")
    against.add_argument("b", metavar="B", nargs="?", default="", help="samples; default: the other label of A's file")
    against.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only such samples")
    against.add_argument("--phases", action="store_true", help="every phase, not only those that changed")
    against.add_argument("--json", action="store_true", help="for programs")
    against.set_defaults(command=_compare)
    report = commands.add_parser("report", help="make report.html anew from the files beside it")
    report.add_argument(
        "folder", nargs="?", default="report", help="report/IMAGE, or the folder of several (default: %(default)s)"
    )
    report.set_defaults(command=_report)
    new = commands.add_parser("new-datastore", help="write element, definition and checks of a new datastore")
    new.add_argument("name", help="the datastore's name, in lower case")
    new.add_argument("--into", default=".", help="the folder that gets elements/, images/ and checks/ (default: here)")
    new.set_defaults(command=_new)
    doctor = commands.add_parser("doctor", help="what a run would meet on this host and in a cloud; makes nothing")
    doctor.add_argument("--cloud", default="", metavar="ENTRY", help="entry of clouds.yaml (default: as pytest)")
    doctor.add_argument("--site", default="", metavar="FILE", help="the site file (default: imagecheck.toml)")
    doctor.add_argument("--image", default="", metavar="NAME", help="an image, as for pytest: does it fit?")
    doctor.add_argument("--datastore", default="", metavar="NAME:VERSION", help="what an image file serves")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(command=_doctor)
    garbage = commands.add_parser("gc", help="remove what earlier, dead runs left in a cloud and on this host")
    garbage.add_argument("--dry-run", action="store_true", help="only say what would be removed, and why the rest not")
    garbage.add_argument("--older-than", default="", metavar="2h", help="nothing that is younger")
    garbage.add_argument("--run", default="", metavar="RUN", help="only of this run, also what it keeps (--keep)")
    garbage.add_argument("--cloud", default="", metavar="ENTRY", help="look through this cloud too: ledgers get lost")
    garbage.add_argument("--site", default="", metavar="FILE", help="the same, by a site file")
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
        if options.launches > 0:
            known = Path("report") / name / "launches.jsonl"
            seconds, one = plan.series(name, options.launches, options.kind, known=known)
            print(f"{'series':<14}{options.launches} launches more; about {seconds / 60:.0f} min one by one ({one})")
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


def _compare(options: argparse.Namespace) -> int:
    from imagecheck import compare

    found = compare.of_files(options.a, options.b, options.where)
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    told = compare.lines(found, phases=options.phases, width=width)
    print(compare.as_json(found) if options.json else "\n".join(told))
    return compare.EXIT[found.verdict]


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


def _doctor(options: argparse.Namespace) -> int:
    from imagecheck import doctor, finding

    found = doctor.examine(options.cloud, options.site, options.image, datastore=options.datastore)
    width = shutil.get_terminal_size((80, 24)).columns
    print(json.dumps(finding.as_json(found), indent=1) if options.json else "\n".join(finding.lines(found, width)))
    return 1 if finding.stops(found) else 0


def _gc(options: argparse.Namespace) -> int:
    from imagecheck import choice, progress
    from imagecheck.cloud import connection, marks
    from imagecheck.cloud.collection import collect_garbage

    older_than = marks.duration(options.older_than, "--older-than") if options.older_than else 0.0
    cloud = None
    try:
        if where := choice.standing(options.cloud, options.site):
            cloud = connection.connect(where)
    except ImagecheckError as error:
        if options.cloud or options.site:
            raise
        progress.note(f"{error}: only what ledgers name is looked for")  # the usual cloud, which nobody named
    done = collect_garbage(dry_run=options.dry_run, older_than=older_than, run=options.run, cloud=cloud)
    if options.dry_run:
        for line in done.left:
            print(f"remove  {line}")
        for line in done.kept:
            print(f"keep    {line}")
        print(f"would remove {len(done.left)}")
        return 0
    for line in done.left:
        print(line)
    print(f"removed {done.gone}, left {len(done.left)}")
    return 1 if done.left else 0


if __name__ == "__main__":
    sys.exit(main())
