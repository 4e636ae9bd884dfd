"""Where a data set lies."""

from pathlib import Path

EMBEDDED = "seglit:"


def embedded(name: str) -> Path:
    """The folder of a data set that comes with the package, wherever that is installed.

    Raises:
        ValueError: If there is none of that name, with those that there are.
    """
    home = Path(__file__).resolve().parent
    names = sorted(folder.parent.name for folder in home.glob("*/images"))
    if name not in names:
        raise ValueError(f"{EMBEDDED}{name}: no data set of that name comes with seglit; there are {names}")
    return home / name


def resolved_root(root: str | Path) -> Path:
    """The folder that `root` means: `seglit:<name>` an embedded data set, else a path; `~` is home.

    Raises:
        ValueError: See `embedded`.
    """
    if isinstance(root, str) and root.startswith(EMBEDDED):
        return embedded(root.removeprefix(EMBEDDED))
    return Path(root).expanduser()
