"""The `nav-offrl` command: finds the verb, parses its arguments, reports its errors.

Every verb is a module of this package with a dataclass `Args`, a function
`run(args) -> int | None`, and a docstring that is its help text; one whose defaults depend on what
is asked for has a function `defaults(arguments) -> Args` as well. Modules are imported only when
their verb is called, so that `nav-offrl --help` answers at once and the robot needs no torch.
"""

import difflib
import errno
import importlib
import os
import select
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from nav_offrl import __version__
from nav_offrl.errors import NavOffrlError


@dataclass(frozen=True)
class Verb:
    """One row of the table below."""

    module: str
    summary: str
    to_continue: str = ""  # what to do after Ctrl-C, where work can go on


SAME_COMMAND = "the same command continues where it stopped"
VERBS: dict[str, Verb] = {
    "import": Verb("import_log", "bring recorded robot logs into a store", SAME_COMMAND),
    "inspect": Verb("inspect", "show what a store holds, check it, draw it"),
    "convert": Verb("convert", "write a store as a LeRobot data set"),
    "collect": Verb("collect", "record drives in the simulator into a store", SAME_COMMAND),
    "materialize": Verb("materialize", "decode a store's frames once into a training tier"),
    "encode": Verb("encode", "cache latents of a store's frames by a run's encoder", SAME_COMMAND),
    "train": Verb(
        "train", "learn a goal-conditioned policy from a store", "add --resume to continue"
    ),
    "diagnose": Verb("diagnose", "say whether a run overfits, and which checkpoint to take"),
    "evaluate": Verb(
        "evaluate", "judge a policy on held-out drives, on a suite, in one world", SAME_COMMAND
    ),
    "export": Verb("export", "turn a run into an ONNX bundle for the robot"),
    "drive": Verb("drive", "let a bundle drive to a goal photo"),
    "finetune": Verb("finetune", "improve a policy by its own driving", SAME_COMMAND),
    "doctor": Verb("doctor", "check this machine and say how to mend what is missing"),
}

# Where an optional dependency comes from, by the name of the module that is not there.
EXTRA_OF_MODULE = {
    "torch": "train",
    "tensorboard": "train",
    "safetensors": "train",
    "matplotlib": "train",
    "onnx": "export",
    "onnxscript": "export",
    "gymnasium": "sim",
    "mujoco": "sim",
    "scipy": "sim",
    "h5py": "hdf5",
    "rosbags": "bags",
    "pyarrow": "lerobot",
    "av": "lerobot",
    "obstore": "s3",
    "rerun": "viz",
}

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
MENDABLE_OS_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status (0, 1 by verb, 2 user error, 130 Ctrl-C)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _stdout_is_broken():
            raise
        status = EXIT_BROKEN_PIPE
    sys.exit(status)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else EXIT_USER_ERROR
    if arguments[0] in ("-V", "--version"):
        print(f"nav-offrl {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        nearest = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"verbs are {', '.join(VERBS)}"
        _complain("", f"unknown verb '{verb}': {hint}")
        return EXIT_USER_ERROR
    return _run_verb(verb, rest)


def _run_verb(verb: str, rest: list[str]) -> int:
    try:
        return _parse_and_run(verb, rest)
    except NavOffrlError as error:
        _complain(verb, str(error))
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        hint = VERBS[verb].to_continue
        _complain(verb, f"interrupted; {hint}" if hint else "interrupted", kind="")
        return EXIT_INTERRUPTED
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRA_OF_MODULE and package != "rclpy":
            raise
        _complain(verb, f"needs '{package}', which cannot be imported -> {_install(package)}")
        return EXIT_USER_ERROR
    except OSError as error:
        if error.errno not in MENDABLE_OS_ERRORS:
            raise
        _complain(verb, f"{error.filename or 'disk'}: {error.strerror}")
        return EXIT_USER_ERROR


def _parse_and_run(verb: str, rest: list[str]) -> int:
    module = importlib.import_module(f"nav_offrl.cli.{VERBS[verb].module}")
    # Here, not above: --help and --version stay instant.
    import tyro
    from pydantic import ValidationError

    from nav_offrl.config import first_fault

    try:
        options = {"default": module.defaults(rest)} if hasattr(module, "defaults") else {}
        args = tyro.cli(
            module.Args, prog=f"nav-offrl {verb}", description=module.__doc__, args=rest, **options
        )
    except ValidationError as error:
        first, location = first_fault(error)
        flag = "--" + ".".join(location).replace("_", "-")
        raise NavOffrlError(f"{flag}: {first['msg']} (found {first['input']!r})") from error
    return module.run(args) or 0


def _install(package: str) -> str:
    if package == "rclpy":
        return "source your ROS 2 (source /opt/ros/jazzy/setup.bash) or see the ROS section of docs"
    return f"pip install 'nav-offrl[{EXTRA_OF_MODULE[package]}]'"


def _help() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items())
    return (
        "usage: nav-offrl VERB [ARGUMENTS]\n\n"
        "From logged robot drives to a robot that drives itself to a photo.\n\n"
        f"verbs:\n{rows}\n\n"
        "nav-offrl VERB --help     what a verb does, its arguments, examples\n"
        "nav-offrl --version       the version"
    )


def _complain(verb: str, message: str, kind: str = "error: ") -> None:
    line = f"{f'nav-offrl {verb}'.strip()}: {kind}{message}".replace("\n", " ")
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        line = f"\x1b[31m{line}\x1b[0m"
    print(line, file=sys.stderr, flush=True)


def _stdout_is_broken() -> bool:
    """Tell `nav-offrl ... | head` from a pipe that broke inside the program."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are always reported
    if not poll.poll(0):
        return False
    # What is left in the buffer must go somewhere, or the interpreter complains at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


if __name__ == "__main__":
    main()
