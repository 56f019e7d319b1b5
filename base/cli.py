"""The command line of train.py and test.py: flags, overrides, exit codes. Exceptions become exit codes only here."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from base.config.reader import SHORT_FLAGS, flags_of_file
from base.errors import ConfigError, OutOfMemoryError, UserError, ran_out_of_memory
from utils.formatting import pluralize
from utils.process import gc_paused, silence


def train(argv: Sequence[str]) -> int:
    with gc_paused():
        return exit_code(lambda: _train(argv), "--traceback" in argv)


def test(argv: Sequence[str]) -> int:
    return exit_code(lambda: _test(argv), "--traceback" in argv)


def _train(argv: Sequence[str]) -> int:
    parser = _parser("Trains what a config describes, or resumes a run.")
    _add_runs(parser)
    parser.add_argument("--check", action="store_true", help="only check the config; write nothing")
    _add_questions(parser)
    flags = _add_short_flags(parser, argv)
    arguments = _parsed(parser, argv)
    given = vars(arguments)
    for question in ("explain", "list", "schema"):  # in `--explain seed=1`, the word is an override, not a key
        if "=" in (given[question] or ""):
            arguments.overrides.append(given[question])
            given[question] = ""
    overrides = [f"{flag}={given[flag]}" for flag in flags if given[flag] is not None]
    overrides += arguments.overrides
    asks_for_names = arguments.list is not None or arguments.schema is not None
    if not asks_for_names and arguments.config is None and (arguments.resume is None or arguments.check):
        file = next((text for text in arguments.overrides if text.endswith((".yaml", ".yml", ".json"))), "")
        parser.error(f"write -c {file}" if file else "give -c CONFIG to start a run, or -r PATH to resume one")
    if asks_for_names or arguments.explain is not None:
        from base.introspect.questions import answer

        answer(arguments, overrides)
        return 0

    from base.registry import CALLBACKS
    from base.run import check, fit

    if arguments.check:
        warnings = check(arguments.config, overrides, arguments.plugin)
        said = f"it would start, with {pluralize(len(warnings), 'warning')}" if warnings else "nothing is wrong"
        print(f"{arguments.config}: {said}")
        return 0
    run = fit(
        arguments.config,
        overrides,
        arguments.resume,
        newest=arguments.resume_newest,
        auto=arguments.auto_resume,
        force=arguments.force,
        plugins=arguments.plugin,
        note=arguments.note,
        tags=arguments.tag,
        callbacks=[CALLBACKS.get("Profile")()] if arguments.profile else [],
        command=sys.argv,
    )
    from base.checks.summary import print_end

    print_end(run.trainer, run.path, run.reason)
    return 128 + run.signal if run.signal else 0


def _add_runs(parser: argparse.ArgumentParser) -> None:
    """Flags that select the run to start or resume, and its options."""
    parser.add_argument("-c", "--config", metavar="CONFIG", help="start a run from a YAML or JSON file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-r", "--resume", metavar="PATH", help="resume a run, or one of its checkpoints")
    which.add_argument("--resume-newest", action="store_true", help="with -c: resume the newest run of that name")
    which.add_argument(
        "--auto-resume", action="store_true", help="with -c: resume it if unfinished and equal, else start a new run"
    )
    parser.add_argument("--force", action="store_true", help="on a resume, accept changes that alter the run's course")
    parser.add_argument("--profile", action="store_true", help="profile ten steps, into the run's folder profile/")
    parser.add_argument("--note", default="", metavar="TEXT", help="why this run was made; tools/compare.py shows it")
    parser.add_argument("--tag", action="append", default=[], metavar="WORD", help="a word to find the run by")


def _add_short_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, str]:
    """Adds the short flags for common keys and those under `options` in the config, which may redefine a short flag but
    not the program's own flags. Returns the config key of each flag."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("-c", "--config", "-r", "--resume", dest="path")
    path = first.parse_known_args(argv)[0].path
    taken = {flag for action in parser._actions for flag in action.option_strings}
    own = flags_of_file(path) if path else {}
    flags = SHORT_FLAGS | {flag: key for flag, key in own.items() if flag not in taken}
    for flag, key in flags.items():
        parser.add_argument(flag, dest=flag, metavar="VALUE", help=f"short for {key}=VALUE")
    return flags


def _add_questions(parser: argparse.ArgumentParser) -> None:
    """Flags that only print or write information; base/introspect answers them."""
    asks: dict[str, Any] = {"nargs": "?", "const": ""}
    explain = "print the whole config, or KEY of it, and where each value comes from"
    parser.add_argument("--explain", **asks, metavar="KEY", help=explain)
    names = "print the kinds of components, the names of one kind (losses), or details of one name (SGD)"
    parser.add_argument("--list", **asks, metavar="WORD", help=names)
    schema = "write a JSON Schema of all keys and names, for editors (default: saved/schema.json)"
    parser.add_argument("--schema", **asks, metavar="FILE", help=schema)


def _test(argv: Sequence[str]) -> int:
    parser = _parser("Tests a run: its best checkpoint, else its last.")
    parser.add_argument("-r", "--resume", metavar="PATH", required=True, help="a run, or a checkpoint in it")
    on = parser.add_mutually_exclusive_group()
    on.add_argument("--data", default="test", metavar="SET", help="test (default), valid, or the name of a dataset")
    on.add_argument("--input", metavar="PATH", help="predict an image, an .npz file, or a folder of them")
    parser.add_argument("--top-k", type=int, default=3, metavar="K", help="with --input: classes to print (default: 3)")
    arguments = _parsed(parser, argv)
    if arguments.top_k < 1:
        parser.error(f"argument --top-k: expected 1 or more, found {arguments.top_k}")

    if arguments.input is not None:
        from base.evaluation.predict import predict

        for prediction in predict(
            arguments.resume, arguments.input, arguments.top_k, arguments.overrides, plugins=arguments.plugin
        ):
            print(prediction)
        return 0

    from base.evaluation.evaluate import evaluate

    evaluate(arguments.resume, arguments.data, arguments.overrides, plugins=arguments.plugin)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage, which `--help` prints."""
        self.exit(2, f"{message}; --help lists the flags\n")


def _parsed(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Raises ConfigError for flags that do not exist."""
    known = [flag for action in parser._actions for flag in action.option_strings]
    single = [word for word in argv if word.startswith("-") and f"-{word.partition('=')[0]}" in known]
    arguments, unknown = parser.parse_known_intermixed_args(argv) if not single else (argparse.Namespace(), single)
    if unknown:
        from base.config.near_misses import no_such_flag

        raise ConfigError([no_such_flag(word, known) for word in unknown], "the command line")
    return arguments


def _parser(description: str) -> argparse.ArgumentParser:
    parser = _Parser(description=description, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="overrides the config, read as YAML")
    parser.add_argument("--traceback", action="store_true", help="print the full traceback of an error")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="a module that registers names")
    return parser


def exit_code(work: Callable[[], int], whole_traceback: bool = False) -> int:
    """The value that `work` returns, or the exit code of the exception that it raises, which is printed to stderr."""
    try:
        return work()
    except UserError as error:
        if whole_traceback:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # during training, SIGINT is a request to stop and raises nothing
        print("interrupted before training began: nothing was changed", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        silence(sys.stdout)
        return 1
    except Exception as error:
        if ran_out_of_memory(error):
            print(f"out of memory before training began: {error}", file=sys.stderr)
            return OutOfMemoryError.exit_code
        _explain(error, whole_traceback)
        return 1


def _explain(error: Exception, whole: bool) -> None:
    from base.discovery import users_frames

    if whole:
        traceback.print_exc()
    elif frames := users_frames(error):
        print("".join(traceback.format_list(frames)), end="", file=sys.stderr)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(f"a bug in torch-atelier: {type(error).__name__}: {error} (--traceback shows where)", file=sys.stderr)
