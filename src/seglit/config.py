"""Where configurations lie, how they are composed, and how a mistake in one is put into words."""

import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from yaml import YAMLError

PLUGINS = {
    "hydra/sweeper/optuna": "optuna",
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/submitit_slurm": "slurm",
}
"""Files of Hydra's plugins, and the extra of seglit that brings each."""


class ConfigError(ValueError):
    """A configuration that would not do what it says; its text is one line for each mistake."""


@dataclass(frozen=True)
class RootConfig:
    """The root of a configuration: these keys, of these types, and no others."""

    data: Mapping[str, Any]
    """The data module."""
    model: Mapping[str, Any]
    """The Lightning module: net, criterion, optimizer, schedule."""
    trainer: Mapping[str, Any]
    """Lightning's Trainer, without callbacks and loggers."""
    callbacks: Mapping[str, Any]
    """Callbacks by names of the user's choice; null switches one off."""
    logger: Mapping[str, Any]
    """Loggers, likewise."""
    name: str
    """What the run is called."""
    seed: int
    """What all randomness of the run is drawn from."""
    output_dir: str
    """The folder of all that the run writes."""
    ckpt_path: str | None
    """A checkpoint to resume from."""
    test_after_fit: bool
    """Whether the best checkpoint is tested at the end."""


def conf_dir() -> Path:
    """The folder of the configurations: beside the code in an installed wheel, else the clone's."""
    beside = Path(__file__).resolve().parent / "conf"
    return beside if beside.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """The configuration that `seglit.train` would run with these overrides.

    Args:
        overrides: as on the command line.
        config_dir: a folder of the user's own files, as `--config-dir` gives.

    Raises:
        ConfigError: names the key or file and the nearest valid one.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    more = []
    if config_dir is not None:
        if not config_dir.is_dir():
            raise ConfigError(f"{config_dir}: no such folder")
        refuse_shadowing(config_dir)
        quoted = re.sub(r"(\\*)'", r"\1\1\\'", str(config_dir.resolve()))
        more = [f"hydra.searchpath=['file://{quoted}']"]
    # There may be a job around us that goes on needing its own.
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra.compose("train", overrides=[*more, *overrides])
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise ConfigError(message.removeprefix("config: ")) from error
    finally:
        GlobalHydra.instance().hydra = running


def refuse_shadowing(folder: Path) -> None:
    """Refuse a user's file that has the group and name of a shipped one, which would silently win over it.

    Raises:
        ConfigError: names both files.
    """
    shipped = conf_dir()
    for path in sorted(folder.rglob("*.yaml")):
        relative = path.relative_to(folder)
        if (shipped / relative).is_file() and path.resolve() != (shipped / relative).resolve():
            raise ConfigError(f"{path}: seglit comes with a {relative} of its own, which wins; give yours another name")


def to_text(cfg: DictConfig) -> str:
    """The configuration as YAML with every interpolation resolved; `from_text` gives back the very same values."""
    return OmegaConf.to_yaml(OmegaConf.create(_escaped(OmegaConf.to_container(cfg, resolve=True))))


def _escaped(node: Any) -> Any:
    """The same content, with text that would be read as an interpolation escaped."""
    if isinstance(node, dict):
        return {name: _escaped(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_escaped(value) for value in node]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", node) if isinstance(node, str) else node


def from_text(text: str) -> DictConfig:
    """The configuration in a YAML text.

    Raises:
        ConfigError: where the text holds none.
    """
    try:
        cfg = OmegaConf.create(text)
    except YAMLError as error:
        raise ConfigError(f"the text holds no configuration: {' '.join(str(error).split())}") from error
    if not isinstance(cfg, DictConfig):
        raise ConfigError("the text holds no configuration")
    return cfg


def similar(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the choice most like `name`; empty if none is like it."""
    close = difflib.get_close_matches(name, sorted(set(choices)), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the choice most like `name`, else the list of choices; empty if there are none."""
    known = sorted(set(choices))
    return similar(name, known) or (f"; there are: {', '.join(known)}" if known else "")


def explain(error: BaseException) -> str | None:
    """A mistake of the user, or the end of a training, in words, `config: ...`; None for what needs its trace."""
    from hydra.errors import HydraException, InstantiationException

    from seglit.blackbox.fault import TrainingFault
    from seglit.data.errors import DataError

    if isinstance(error, TrainingFault):
        return f"training: {error}"
    if isinstance(error, ConfigError):
        return "\n".join(f"config: {line}" for line in str(error).splitlines())
    if isinstance(error, DataError):
        # From a process that loads samples it comes with the trace of that process before its words.
        return f"data: {str(error).rpartition('seglit.data.errors.DataError: ')[2].strip()}"
    if isinstance(error, InstantiationException):
        # A constructor failed. Lightning refuses devices that are not there with an exception of its own, here by name,
        # as its import takes seconds; any other failure is a bug.
        cause = error.__cause__
        refused = isinstance(cause, ValueError) or type(cause).__name__ == "MisconfigurationException"
        return f"config: {' '.join(str(cause).split())}" if refused else None
    if isinstance(error, YAMLError):
        return f"config: {' '.join(str(error).split())}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return f"config: {_reworded(error)}"
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return (
            "config: a group, as model or data, is set to the name of a file, model=fcn_r18-d8, or of several, [a, b]"
        )
    if isinstance(error, AssertionError) and _origin(error).endswith("hydra/core/default_element.py"):
        # Hydra trips over a list of files that comes after an `override` while it words its refusal.
        return "config: defaults: a group is listed after an `override`; put the `override` lines of the file last"
    return None


def _origin(error: BaseException) -> str:
    """The file that raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else Path(trace.tb_frame.f_code.co_filename).as_posix()


@contextmanager
def readable_errors() -> Iterator[None]:
    """Put a mistake of the user into one line on standard error, and end the command with status 2."""
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        raise SystemExit(2) from error


def _reworded(error: BaseException) -> str:
    """Hydra's own words in one line, with the nearest key or file."""
    from hydra.errors import OverrideParseException

    text = " ".join(str(error).split())
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, name = match.group(1).rpartition("/")
        if match.group(1) in PLUGINS:
            return f"{group}={name}: is a plugin that is not installed; pip install 'seglit[{PLUGINS[match.group(1)]}]'"
        folders = [Path(folder) / group for folder in re.findall(r"path=file://(.+)", str(error))]
        if any(folder.is_dir() for folder in folders):
            files = [path.stem for folder in folders for path in folder.glob("*.yaml")]
            return f"{group}={name}: no such file{nearest(name, files)}"
        return f"{group}: no such group{nearest(group, _groups())}"
    if match := re.search(r"Could not override '([^']+)'\. ?(?:No match in the defaults list|Did you mean)", text):
        group = match.group(1)
        if group in _groups():
            return f"{group}: is not among the defaults; put + before it to add it"
        return f"{group}: no such group{nearest(group, _groups())}"
    if match := re.search(r"Could not (?:override|append) '([^']+)'|Key '([^']+)' is not in struct", text):
        key = match.group(1) or match.group(2)
        return f"{key}: no such group{nearest(key, _groups())}" if "/" in key else _unknown_key(error, key)
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        # The shell takes one pair of quotes for itself.
        mend = f"""; quote spaces, braces and signs twice, "{key}='{value}'\"""" if value else ""
        return f"{error.override}: is not of the form key=value{mend}"
    return text


def _unknown_key(error: BaseException, key: str) -> str:
    link: BaseException | None = error
    while link is not None:
        key = str(getattr(link, "full_key", None) or key)
        node = getattr(link, "parent_node", None)
        if isinstance(node, DictConfig):
            return f"{key}: no such key{_mend(node, key)}"
        link = link.__cause__ or link.__context__
    return f"{key}: no such key"


def _mend(node: DictConfig, key: str) -> str:
    """What may have been meant by a key that a node has not."""
    place, _, name = key.rpartition(".")
    if not len(node):
        return f"; {place} is null: first choose what it is, by a file or a trick, or give it a _target_"
    if "_target_" in node:
        from seglit.check.nodes import resolve, signature

        # The file does not list every argument.
        if name in signature(resolve(str(node._target_)))[0]:
            return f", but an argument of {node._target_}; put + before it"
    return nearest(name, map(str, node))


def _groups() -> list[str]:
    """The folders with files to choose from, as `model/optimizer`."""
    return sorted({path.parent.relative_to(conf_dir()).as_posix() for path in conf_dir().glob("*/**/*.yaml")})


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain dicts and lists, interpolations resolved.

    Raises:
        ConfigError: names each value that is missing or refers to nothing.
    """
    problems = list(_unresolvable(cfg, ""))
    if problems:
        raise ConfigError("\n".join(problems))
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _unresolvable(node: DictConfig | ListConfig, key: str) -> Iterator[str]:
    # Not by full keys: one such as paramwise.custom_keys.'backbone.stem' has a dot inside.
    for name in list(node) if isinstance(node, DictConfig) else range(len(node)):
        place = f"{key}.{name}" if key else str(name)
        if OmegaConf.is_missing(node, name):
            yield f"{place}: has no value; give one, {place}=..."
            continue
        try:
            value = node[name]
        except InterpolationToMissingValueError:
            continue  # the value that is missing has a line of its own
        except OmegaConfBaseException as error:
            text = str(error).splitlines()[0]
            if "HydraConfig was not set" not in text:
                yield f"{place}: {text}"
            elif "${hydra:" in str(OmegaConf.to_container(node)[name]):  # type: ignore[index]
                # Only here: what refers to this key has no fault of its own.
                yield f"{place}: is known only inside a run of seglit.train; give one, {place}=..."
            continue
        if isinstance(value, DictConfig | ListConfig) and not OmegaConf.is_interpolation(node, name):
            yield from _unresolvable(value, place)
