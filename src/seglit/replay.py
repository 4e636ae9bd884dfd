"""Run a step again that went wrong, and name the cause: `python -m seglit.replay runs/.../black_box/step_120`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seglit.blackbox.bundle import Bundle
    from seglit.blackbox.localise import Replay
    from seglit.module import SegmentationModule


def main(arguments: list[str] | None = None) -> None:
    """The command. A mistake of the user is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="seglit-replay", description="Run a step again that went wrong.")
    parser.add_argument("bundle", type=Path, help="a folder that the black box wrote, runs/.../black_box/step_...")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...; where the step runs, cpu by default")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="your own, to build from too")
    options = parser.parse_args(arguments)

    from seglit.config import readable_errors

    with readable_errors():
        replay(options.bundle, options.device, options.trust)


def replay(
    folder: Path, device: str = "cpu", packages: Sequence[str] = (), module: "SegmentationModule | None" = None
) -> list["Replay"]:
    """Run the step of a bundle again, of each rank for itself, and print what it shows.

    Nothing in a bundle is executed: its configuration may name classes of seglit and its libraries, and of `packages`.

    Args:
        folder: a bundle, or the folder of those of all ranks.
        device: torch's name of the device.
        packages: further packages whose classes the configuration may name.
        module: the module, where the run had no configuration; else it is built from it.

    Returns:
        What each rank's replay showed.

    Raises:
        ConfigError: where the folder holds no bundle, a file is damaged, or its module cannot be built.
    """
    from seglit.startup import without_collection

    with without_collection():
        from rich.console import Console

        from seglit.blackbox.bundle import bundles_in, read_bundle
        from seglit.blackbox.localise import localise
        from seglit.predict import usable_device

    console = Console(highlight=False, soft_wrap=True)
    replays = []
    for place in bundles_in(folder):
        bundle = read_bundle(place)
        built = module_of(bundle, place, packages) if module is None else module
        console.print(f"{place}: step {bundle.report['step']}, {bundle.report['problem']}", markup=False)
        found = localise(built, bundle, usable_device(device))
        replays.append(found)
        for line in lines_of(found, bundle, device):
            console.print(f"  {line}", markup=False)
    return replays


def module_of(bundle: "Bundle", place: Path, packages: Sequence[str]) -> "SegmentationModule":
    """The module that a bundle's configuration describes, not compiled, with the class weights of the run.

    Raises:
        ConfigError: where there is no configuration, or it names what may not be built.
    """
    from seglit.blackbox.bundle import CONFIG
    from seglit.build import built
    from seglit.check import check
    from seglit.checkpoint import rebuildable
    from seglit.config import ConfigError, from_text

    if not bundle.config:
        raise ConfigError(f"{place}: holds no configuration; from Python, seglit.replay.replay takes the module")
    cfg = from_text(bundle.config)
    try:
        check(cfg, trusted=False, packages=packages)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{place / CONFIG}: {line}" for line in str(error).splitlines())) from error
    cfg = rebuildable(cfg)
    module: SegmentationModule = built(cfg.model, "model", compile=False)
    for head, content in bundle.report["stored"]["criterion"].items():
        losses = module.criterion.head_criteria()[head].named_losses()
        for name, loss in losses.items():
            weight = content["losses"][name]["class_weight"]
            loss.class_weight = None if weight is None else tuple(weight)
    return module


def lines_of(found: "Replay", bundle: "Bundle", device: str) -> list[str]:
    """What a replay showed, in words."""
    terms = ", ".join(f"{name} {value:.6g}" for name, value in found.terms.items())
    again = "it happens again" if found.reproduced else "every loss and gradient is finite"
    lines = [f"run again on {device}, {again}{f': {terms}' if terms else ''}"]
    lines += [f"{'cause' if not place else 'also'}: {finding}" for place, finding in enumerate(found.findings)]
    if not found.reproduced and bundle.report["kind"] == "nonfinite":
        trained = f"{bundle.report['device']} at precision {bundle.report['precision']}"
        ranks = (
            f", rank {bundle.report['rank']} of {bundle.report['world_size']}"
            if bundle.report["world_size"] > 1
            else ""
        )
        lines.append(f"the run was on {trained}{ranks}: look at the other ranks, or run it again with --device there")
    return lines


if __name__ == "__main__":
    main()
