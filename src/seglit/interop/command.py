"""`seglit-import`: configurations and weights of MMSegmentation for seglit."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "config": ("seglit.interop.mmseg.config_command", "a configuration as an experiment"),
    "weights": ("seglit.interop.mmseg.weights", "a checkpoint as weights of a segmentor"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands; the module of the others is not loaded."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="seglit-import", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, words) in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words.capitalize())
        if given[:1] == [name]:
            import_module(module).add_arguments(command)
    options = parser.parse_args(given)
    sys.exit(import_module(COMMANDS[options.command][0]).run(options))


if __name__ == "__main__":
    main()
