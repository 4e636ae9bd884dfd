"""`seglit-import config`: a configuration of MMSegmentation as an experiment, and a report of what became of it."""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from seglit.files import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("config", type=Path, help="a .py file of MMSegmentation 0.x or 1.x; it is read, not run")
    parser.add_argument("-o", "--output", type=Path, help="the experiment to write; without it, it is printed")
    parser.add_argument("--force", action="store_true", help="write over an existing file")
    parser.add_argument(
        "--compat",
        choices=["none", "mmseg-0.25", "mmseg-1.2"],
        default="none",
        help="none: losses and schedules by their definitions; else by the arithmetic of that release",
    )


def run(options: argparse.Namespace) -> int:
    """Import one configuration; 0 if the experiment was made, 2 if not."""
    from hydra.errors import InstantiationException

    from seglit.interop.mmseg.config_file import ConfigFileError, read
    from seglit.interop.mmseg.experiment import experiment
    from seglit.interop.mmseg.faults import findings
    from seglit.interop.mmseg.settings import UnsupportedError

    compat = None if options.compat == "none" else options.compat
    try:
        if options.output is not None and options.output.exists() and not options.force:
            raise ConfigFileError(f"{options.output}: exists; --force writes over it")
        config = read(options.config)
        faults = findings(config)
        try:
            made = experiment(config, compat)
        except UnsupportedError as error:
            listed("what the original did silently wrong", [str(fault) for fault in faults])
            raise ConfigFileError(f"{options.config}: {error}") from None
        text = to_yaml(made, options.config.name)
        if options.output is None:
            print(text, end="")
        else:
            write_text(options.output, text)
    except (ConfigFileError, OSError) as error:
        print(f"seglit-import: {error}", file=sys.stderr)
        return 2
    except InstantiationException as error:
        print(f"seglit-import: {options.config}: {' '.join(str(error.__cause__ or error).split())}", file=sys.stderr)
        return 2
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # A value of another kind than MMSegmentation takes there, such as a number in the place of a dictionary.
        print(f"seglit-import: {options.config}: is malformed: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    listed("taken", made.taken)
    listed("without an equal here", made.missing)
    listed("what the original did silently wrong", [str(fault) for fault in faults])
    return 0


def listed(title: str, lines: list[str]) -> None:
    """Print a part of the report beside the experiment, on standard error."""
    if lines:
        print(f"{title}:", *(f"  {line}" for line in lines), sep="\n", file=sys.stderr)


class Dumper(yaml.SafeDumper):
    """Dictionaries over lines, lists of plain values in one."""


def _represent_list(dumper: Dumper, value: list[Any]) -> yaml.Node:
    flat = not any(isinstance(item, dict) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)


def _represent_float(dumper: Dumper, value: float) -> yaml.Node:
    # YAML 1.1 wants a point in what has an exponent.
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


Dumper.add_representer(list, _represent_list)
Dumper.add_representer(float, _represent_float)
Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]


def to_yaml(made: Any, origin: str) -> str:
    """The experiment as a file."""
    lines = [f"- override {group}: {name}" for group, name in made.defaults.items()]
    order = [key for key in ("model", "data", "trainer", "callbacks") if key in made.content]
    content = plain({key: made.content[key] for key in order})
    body = yaml.dump(content, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True) if content else ""
    head = ["# @package _global_", f"# From MMSegmentation's {origin}, by seglit-import."]
    head += [f"# No equal: {line}" for line in made.missing]
    return "\n".join([*map(one_line, head), "defaults:", *(f"  {line}" for line in lines), body])


def one_line(text: str) -> str:
    """A text without line breaks."""
    return " ".join(text.split())


def plain(value: Any) -> Any:
    """Tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
