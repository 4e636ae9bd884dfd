"""Where configurations lie, how they are composed, and how a mistake in one is put into words."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class ConfigError(ValueError):
    """A configuration that would not do what it says; its text is one line for each mistake."""


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
        refuse_shadowing(config_dir)
        more = [f"hydra.searchpath=[file://{config_dir.resolve()}]"]
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra.compose("train", overrides=[*more, *overrides])
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise ConfigError(message.removeprefix("config: ")) from error


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
    """The configuration as YAML with every interpolation resolved."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def from_text(text: str) -> DictConfig:
    """The configuration in a YAML text.

    Raises:
        ConfigError: where the text holds none.
    """
    cfg = OmegaConf.create(text)
    if not isinstance(cfg, DictConfig):
        raise ConfigError("the text holds no configuration")
    return cfg


def nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the choice most like `name`, else the list of choices; empty if there are none."""
    known = sorted(set(choices))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there are: {', '.join(known)}" if known else ""


def explain(error: BaseException) -> str | None:
    """A mistake of the user in words, `config: ...` or `data: ...`; None for any other error, which needs its trace."""
    from hydra.errors import HydraException

    from seglit.data.errors import DataError

    if isinstance(error, ConfigError):
        return "\n".join(f"config: {line}" for line in str(error).splitlines())
    if isinstance(error, DataError):
        return f"data: {error}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return f"config: {_reworded(error)}"
    return None


def _reworded(error: BaseException) -> str:
    """Hydra's own words in one line, with the nearest key or file."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    text = " ".join(str(error).split())
    if match := re.search(r"Could not (?:override|append) '([^']+)'|Key '([^']+)' is not in struct", text):
        key = match.group(1) or match.group(2)
        for link in chain:
            node = getattr(link, "parent_node", None)
            full_key = getattr(link, "full_key", None)
            if full_key:
                key = str(full_key)
            if isinstance(node, DictConfig):
                return f"{key}: no such key{nearest(key.rsplit('.', 1)[-1], map(str, node))}"
        return f"{key}: no such key"
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, name = match.group(1).rpartition("/")
        folder = conf_dir() / group
        if folder.is_dir():
            options = [path.stem for path in folder.glob("*.yaml")]
            return f"{group}={name}: no such file{nearest(name, options)}"
        groups = [str(path.relative_to(conf_dir())) for path in conf_dir().rglob("*") if path.is_dir()]
        return f"{group}: no such group{nearest(group, groups)}"
    if match := re.search(r"Could not override '([^']+)'\. No match in the defaults list", text):
        return f"{match.group(1)}: no such group; put + before it to add one"
    return text


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain dicts and lists, interpolations resolved.

    Raises:
        ConfigError: names a value that is missing or refers to nothing.
    """
    unresolved = OmegaConf.to_container(cfg)
    missing = [key for key, value in leaves(unresolved, "") if value == "???"]
    if missing:
        raise ConfigError("\n".join(f"{key}: has no value; give one, {key}=..." for key in missing))
    try:
        content = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every plain value below a node, with its full key."""
    if isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node
