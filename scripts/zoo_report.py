"""What `seglit-import` makes of every configuration that MMSegmentation 1.2.2 was published with: `docs/zoo.md`.

python scripts/zoo_report.py                  # imports, composes and builds; some minutes
python scripts/zoo_report.py --originals      # also builds the originals, and compares names, shapes and their number
python scripts/zoo_report.py --output -       # to the terminal

The wheel is installed without dependencies into a folder, or taken from the environment of `scripts/peers.py` where
that is there. Nothing of it is run, but with `--originals`.
"""

import argparse
import contextlib
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

import peers

OUTPUT = peers.ROOT / "docs" / "zoo.md"
WHEEL = "mmsegmentation==1.2.2"


CHECKED = """\
Checked by hand: 30 configurations drawn from those with a flag and 30 from those without (`random.Random(6)`, over the
sorted names) were resolved by MMEngine's own reader, and what came out was read beside the flags: network, heads,
losses, data set, crop, batch, iterations, end of the schedule, optimizer, rules for parameters. It was this digest that
was read, not every line of the files. All flags of the first 30 were right, and none of these faults was found in the
other 30. Faults of other kinds, such as of test pipelines, were not looked for.

Checked by machine: of the 82 configurations with `custom_keys`, the 57 whose network could be built there have just the
flags that the names of its parameters give. Of the other 25, those of Mask2Former and MaskFormer with a Swin were
compared by the backbone's names alone; those of SAN and VPD were not."""
"""What was seen when flags were checked by hand."""


@dataclass
class Entry:
    """One configuration.

    Attributes:
        name: Its path.
        refused: Why it was not imported; empty if it was.
        remarks: What has no equal.
        faults: What it did silently wrong, as kind and line.
        original: Whether names, shapes and number equal the original's: `equal`, a reason, or empty where not asked.
    """

    name: str
    refused: str = ""
    remarks: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    original: str = ""


def configurations(environment: Path) -> Path:
    """The folder of the published configurations."""
    found = sorted(environment.glob("lib/python*/site-packages/mmseg/.mim/configs"))
    if found:
        return found[0]
    folder = Path(tempfile.gettempdir()) / "seglit-zoo"
    if not (folder / "mmseg" / ".mim" / "configs").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), WHEEL]
        subprocess.run(command, check=True)
    return folder / "mmseg" / ".mim" / "configs"


def paths(folder: Path, words: list[str]) -> list[Path]:
    """The configurations that are no base of others, with one of the words in their path if there are any."""
    found = [path for path in sorted(folder.rglob("*.py")) if "_base_" not in path.relative_to(folder).parts]
    return [path for path in found if not words or any(word in str(path.relative_to(folder)) for word in words)]


def imported(path: Path, name: str) -> Entry:
    """Import a configuration, compose what came out, and build it."""
    from hydra.utils import instantiate

    from seglit.config import plain
    from seglit.interop.mmseg.config_command import to_yaml
    from seglit.interop.mmseg.config_file import ConfigFileError, read
    from seglit.interop.mmseg.experiment import experiment
    from seglit.interop.mmseg.faults import findings
    from seglit.interop.mmseg.settings import UnsupportedError
    from seglit.interop.mmseg.shipped import without_memory
    from seglit.optim import parameter_groups

    entry = Entry(name)
    try:
        config = read(path)
        entry.faults = [(fault.kind, str(fault)) for fault in findings(config)]
        made = experiment(config)
        entry.remarks = made.missing
    except (ConfigFileError, UnsupportedError) as error:
        entry.refused = str(error)
        return entry
    cfg = composed(to_yaml(made, path.name), made.defaults["/data"] == "folder")
    instantiate(cfg.model.criterion, _convert_="all")
    if shapes_of(plain(cfg)["model"]["net"]) != shapes_of(made.network.node):
        raise AssertionError("the experiment makes another network than was translated")
    if cfg.model.paramwise:
        net = without_memory(made.network.build)
        optimizer = cfg.model.optimizer
        parameter_groups(net, optimizer.lr, optimizer.weight_decay, **plain(cfg)["model"]["paramwise"])
    return entry


def composed(text: str, needs_root: bool) -> Any:
    """The checked configuration of an experiment."""
    from seglit.check import check
    from seglit.config import compose

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "experiment").mkdir()
        (Path(folder) / "experiment" / "imported.yaml").write_text(text, encoding="utf-8")
        root = ["data.root=x"] if needs_root else []
        cfg = compose(["+experiment=imported", "output_dir=x", "name=x", *root], Path(folder))
    check(cfg)
    return cfg


BUILT: dict[str, dict[str, tuple[int, ...]]] = {}
"""The shapes of all networks that were built, by their nodes: many recipes have the same."""


def shapes_of(node: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of a segmentor, by name."""
    from hydra.utils import instantiate

    from seglit.interop.mmseg.shipped import without_memory

    key = json.dumps(node, sort_keys=True)
    if key not in BUILT:
        net = without_memory(lambda: instantiate(node, _convert_="all"))
        BUILT[key] = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    return BUILT[key]


def without_numbers() -> None:
    """Let networks be built without drawing weights and, where `torch.device("meta")` is said, without memory."""
    import torch

    for name in dir(torch.nn.init):
        if name.endswith("_") and not name.startswith("_"):
            setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    # Rates of stochastic depth are looked at.
    torch.linspace = partial(torch.linspace, device="cpu")


def compared(path: Path, known: dict[str, str]) -> str:
    """Whether the original has the same parameters, after renaming; in the environment of the original."""
    import torch

    import parity
    from seglit.interop.mmseg.config_file import read
    from seglit.interop.mmseg.network import network
    from seglit.interop.mmseg.settings import UnsupportedError

    left = ("data_preprocessor", "pretrained", "train_cfg", "test_cfg")
    model = {key: value for key, value in read(path).values["model"].items() if key not in left}
    key = repr(parity.without(model, ("init_cfg", "loss_decode", "sampler", "pretrained")))
    if key in known:
        return known[key]
    try:
        translated = network(model)
        ours = shapes_of(translated.node)
    except UnsupportedError:
        return ""
    try:
        with torch.device("meta"):
            original = parity.original(model)
    except (RuntimeError, NotImplementedError):
        original = parity.original(model)
    theirs = translated.renamed(original.state_dict())
    other = [key for key in ours if key in theirs and ours[key] != tuple(theirs[key].shape)]
    if theirs.keys() != ours.keys():
        known[key] = f"{len(theirs.keys() ^ ours.keys())} names differ, as {min(theirs.keys() ^ ours.keys())}"
    else:
        known[key] = f"shapes differ, as of {other[0]}" if other else "equal"
    return known[key]


def among_peers(folder: Path, words: list[str]) -> None:
    """Print the comparison of every configuration with its original, as JSON lines."""
    import parity

    parity.import_mmseg()
    without_numbers()
    known: dict[str, str] = {}
    for path in paths(folder, words):
        try:
            result = compared(path, known)
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        print(json.dumps([str(path.relative_to(folder)), " ".join(result.split())[:200]]), flush=True)


def page(entries: list[Entry]) -> str:
    """The report."""
    built = [entry for entry in entries if not entry.refused]
    lines = [
        "# The configurations of MMSegmentation",
        "",
        f"What `seglit-import config` makes of the {len(entries)} configurations in the wheel of `{WHEEL}`; written by",
        "`scripts/zoo_report.py`. Imported means that the experiment composes, passes the check of configurations,",
        "builds, and that its rules for parameters make groups. What has no equal within an imported one stands in its",
        "experiment file, in comments.",
        "",
        f"**{len(built)} of {len(entries)} are imported and built, {100 * len(built) / len(entries):.1f} %.**",
    ]
    equal = [entry for entry in built if entry.original == "equal"]
    if any(entry.original for entry in entries):
        lines.append(
            f"{len(equal)} of them, {100 * len(equal) / len(entries):.1f} % of all, have the original's parameters: "
            "names after renaming, shapes and number, buffers included."
        )
    families: dict[str, list[Entry]] = {}
    for entry in entries:
        families.setdefault(entry.name.split("/")[0], []).append(entry)
    lines += [
        "",
        "## By family",
        "",
        "| family | configurations | built | equal | not compared, or refused, because |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for family, members in families.items():
        reasons = Counter(shortened(entry.refused) for entry in members if entry.refused)
        reasons.update(
            f"not compared: {shortened(entry.original or 'not asked')}"
            for entry in members
            if not entry.refused and entry.original != "equal"
        )
        words = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        numbers = len(members), sum(not one.refused for one in members), sum(one in equal for one in members)
        lines.append(f"| {family} | {' | '.join(map(str, numbers))} | {words} |")
    remarks = Counter(without_value(remark) for entry in built for remark in set(entry.remarks))
    lines += ["", "## What has no equal in those that are imported", "", "| what | configurations |", "| --- | ---: |"]
    lines += [f"| {shortened(remark)} | {count} |" for remark, count in remarks.most_common()]
    lines += ["", "## What the originals do silently wrong", ""]
    lines += [*CHECKED.splitlines(), ""]
    kinds = Counter(kind for entry in entries for kind in {kind for kind, _ in entry.faults})
    lines += ["| kind | configurations |", "| --- | ---: |"]
    lines += [f"| {kind} | {count} |" for kind, count in kinds.most_common()]
    lines.append("")
    lines += [
        f"- `{entry.name}`\n" + "\n".join(f"  - {line}" for _, line in entry.faults)
        for entry in entries
        if entry.faults
    ]
    return "\n".join(lines) + "\n"


def without_value(remark: str) -> str:
    """A remark without the value of its key, and without numbers of parameters."""
    text = re.sub(r"=.*?(?=: |$)", "", remark, count=1)
    return re.sub(r"\d+ parameters.*", "some parameters have another rate than there", text)


def shortened(reason: str) -> str:
    """A reason in a cell of a table."""
    text = " ".join(reason.split()).replace("|", "/").replace("`", "")
    return f"`{text if len(text) <= 110 else text[:107] + '...'}`"


def prepared() -> None:
    """Make a process fast that imports many configurations."""
    with contextlib.suppress(AttributeError):
        yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc]  # before OmegaConf makes its own of it
    without_numbers()


def attempted(folder: Path, path: Path) -> Entry:
    """What became of a configuration, whatever went wrong."""
    name = str(path.relative_to(folder))
    try:
        return imported(path, name)
    except Exception as error:
        text = " ".join(str(error).split())
        print(f"{name}: {type(error).__name__}: {text}", file=sys.stderr, flush=True)
        return Entry(name, refused=f"FAILED: {type(error).__name__}: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only those with one of the words in their path")
    parser.add_argument("--originals", action="store_true", help="build the originals too")
    parser.add_argument("--output", default=str(OUTPUT))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.originals and not options.among_peers:
        peers.prepared(options.environment)
    folder = configurations(options.environment)
    if options.among_peers:
        among_peers(folder, options.words)
        return
    originals: dict[str, Any] = {}
    if options.originals:
        command = ["zoo_report.py", *options.words, "--among-peers", "--environment", str(options.environment)]
        result = peers.run(options.environment, *command, stdout=subprocess.PIPE)
        originals = dict(json.loads(line) for line in result.stdout.splitlines() if line.startswith("["))
    with multiprocessing.get_context("spawn").Pool(options.processes, prepared) as pool:
        entries = pool.map(partial(attempted, folder), paths(folder, options.words), chunksize=4)
    for entry in entries:
        entry.original = originals.get(entry.name, "")
    text = page(entries)
    if options.output == "-":
        print(text)
    else:
        Path(options.output).write_text(text, encoding="utf-8")
        print(json.dumps(Counter("refused" if entry.refused else "built" for entry in entries)))


if __name__ == "__main__":
    main()
