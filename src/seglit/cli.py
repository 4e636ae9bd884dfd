"""LightningCLI over the same classes: `python -m seglit.cli fit --experiment bluemarble --data.batch_size=4`."""

import os
import sys
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from omegaconf import DictConfig, OmegaConf

from seglit.build import Parts, hush, own_callbacks, refuse_misfits
from seglit.callbacks import Predictions
from seglit.card import averages_weights, write_card
from seglit.check import check
from seglit.check.configuration import SECTIONS
from seglit.check.hints import item_type, mapping_types, members, takes_callable
from seglit.check.nodes import HYDRA_KEYS, resolve, signature
from seglit.checkpoint import stored
from seglit.config import ConfigError, compose, plain, readable_errors
from seglit.data.datamodule import SegmentationDataModule
from seglit.module import SegmentationModule
from seglit.resume import refuse_changes
from seglit.train import prepare

COMMANDS = ("fit", "validate", "test", "predict")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. A mistake in the configuration is one line on standard error and exit status 2."""
    hush()
    # Lightning's own use of jsonargparse, which nobody who reads the warning can change.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    with readable_errors():
        words = with_experiment(list(sys.argv[1:] if arguments is None else arguments))
        try:
            SegmentationCLI(words)
        except ArgumentError as error:
            # The parser would print eighty lines on how it is used before these.
            raise ConfigError(" ".join(str(error).split())) from error


class SegmentationCLI(LightningCLI):
    """LightningCLI whose configuration is checked, announced and kept as that of `seglit.train`.

    Args:
        arguments: the command line, without the name of the program.

    Raises:
        ConfigError: where the configuration would not do what it says.
    """

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(
            SegmentationModule,
            SegmentationDataModule,
            args=arguments,
            seed_everything_default=0,
            save_config_callback=None,
            auto_configure_optimizers=False,
            parser_kwargs={"allow_abbrev": False, "prog": "seglit.cli", "exit_on_error": False},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Document what `with_experiment` takes off the command line before this parser sees it."""
        parser.epilog = (
            "--experiment NAME [--config-dir FOLDER] [key=value ...] composes a Hydra experiment first, key=value "
            "without dashes being for Hydra; options with dashes then change what came out."
        )

    def before_instantiate_classes(self) -> None:
        """Check the configuration by the rules of `seglit.train`."""
        self.hydra_config = as_hydra(self.config[self.subcommand].as_dict())
        check(self.hydra_config)
        checkpoint = self.hydra_config.ckpt_path
        if self.subcommand != "fit":
            if not checkpoint:
                raise ConfigError(f"{self.subcommand}: needs the weights of a run; give --ckpt_path=...")
            stored(Path(checkpoint))
        elif checkpoint:
            refuse_changes(self.hydra_config, Path(checkpoint))

    def instantiate_classes(self) -> None:
        """Build what the configuration names."""
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise ConfigError(" ".join(str(error).split())) from error
        self.parts = Parts(self.datamodule, self.model, self.trainer)
        refuse_misfits(self.parts, self.hydra_config)

    def before_fit(self) -> None:
        """Print and keep the receipt."""
        prepare(self.hydra_config, self.parts)

    def after_validate(self) -> None:
        """Keep the card of the evaluation."""
        self._write_card("val")

    def after_test(self) -> None:
        """Keep the card of the evaluation."""
        self._write_card("test")

    def _write_card(self, stage: str) -> None:
        if self.trainer.is_global_zero:
            averaged = averages_weights(map(type, self.trainer.callbacks))  # type: ignore[attr-defined]
            write_card(Path(self.hydra_config.output_dir), self.parts, stage, averaged)

    def before_predict(self) -> None:
        """Have the predictions written, as nobody would see them otherwise."""
        folder = Path(self.hydra_config.output_dir) / "predictions"
        self.trainer.callbacks.append(Predictions(folder))  # type: ignore[attr-defined]
        self.config[self.subcommand].return_predictions = False


def with_experiment(arguments: list[str]) -> list[str]:
    """The command line with `--experiment NAME` and Hydra's overrides replaced by the configuration they make.

    Raises:
        ConfigError: where Hydra cannot compose it, or an override has no experiment to change.
    """
    options = {"--experiment": "", "--config-dir": ""}
    overrides: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, separator, value = word.partition("=")
        # What follows an option without = is its value, whatever it looks like.
        follows = bool(rest) and rest[-1].startswith("--") and "=" not in rest[-1]
        if name in options:
            options[name] = value if separator else next(words, "")
        elif (separator or name.startswith("~")) and not word.startswith("-") and not follows:
            overrides.append(word)
        else:
            rest.append(word)
    experiment, folder = options["--experiment"], options["--config-dir"]
    if not experiment:
        if overrides or folder:
            raise ConfigError(f"{' '.join(overrides) or folder}: goes with --experiment NAME, and there is none")
        return rest
    if not rest or rest[0] not in COMMANDS:
        raise ConfigError(f"--experiment: comes after a command, which is one of {', '.join(COMMANDS)}")
    run = [f"name={experiment}", f"output_dir=runs/{datetime.now():%Y-%m-%d_%H-%M-%S}"]
    cfg = compose([f"+experiment={experiment}", *run, *overrides], Path(folder) if folder else None)
    check(cfg)
    return [rest[0], "--config", yaml.safe_dump(as_lightning(plain(cfg)), sort_keys=False), *rest[1:]]


def as_lightning(content: Mapping[str, Any]) -> dict[str, Any]:
    """A composed configuration in the form of LightningCLI, with `class_path` and `init_args` for `_target_`."""
    sections = {name: as_class(content[name])["init_args"] for name in SECTIONS}
    listed = {name: [node for node in content[name].values() if node is not None] for name in ("callbacks", "logger")}
    sections["trainer"] |= (
        own_callbacks([resolve(node["_target_"]) for node in listed["callbacks"]])
        | {name: as_class(nodes) for name, nodes in listed.items()}
        | {"default_root_dir": content["output_dir"]}
    )
    return {"seed_everything": content["seed"], "ckpt_path": content["ckpt_path"]} | sections


def as_class(value: Any) -> Any:
    """A node of Hydra, and all below it, in the form of LightningCLI; other values as they are."""
    if isinstance(value, list):
        return [as_class(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    arguments = {name: as_class(part) for name, part in value.items() if name not in HYDRA_KEYS}
    return {"class_path": value["_target_"], "init_args": arguments} if "_target_" in value else arguments


def as_hydra(content: Mapping[str, Any]) -> DictConfig:
    """A configuration of LightningCLI in the form of `seglit.train`; it has no names of callbacks and loggers."""
    trainer = dict(content["trainer"])
    folder = trainer.pop("default_root_dir") or "."
    # Without a word, or by true, Lightning's Trainer takes a logger of its own.
    own = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": str(folder)}}
    listed = {}
    for name, default in (("callbacks", []), ("logger", [own])):
        given = trainer.pop(name)
        if given is None or given is True:
            given = default
        nodes = given if isinstance(given, list) else [given] if isinstance(given, Mapping) else []
        listed[name] = {str(place): as_node(node) for place, node in enumerate(nodes)}
    sections = {"model": content["model"], "data": content["data"], "trainer": trainer}
    return OmegaConf.create(
        {name: as_node({"class_path": SECTIONS[name], "init_args": node}) for name, node in sections.items()}
        | listed
        | {
            "name": Path(folder).name,
            "seed": content["seed_everything"],
            "output_dir": str(folder),
            "ckpt_path": None if content.get("ckpt_path") is None else str(content["ckpt_path"]),
            "test_after_fit": False,
        }
    )


def as_node(value: Any, hint: Any = object) -> Any:
    """What LightningCLI has for an argument of type `hint`, and all below it, as a node of Hydra."""
    if isinstance(value, list | tuple):
        return [as_node(part, item_type(hint)) for part in value]
    if not isinstance(value, Mapping):
        return value
    plain_class = next((member for member in members(hint) if isinstance(member, type) and is_dataclass(member)), None)
    if plain_class is not None and "class_path" not in value:
        value = {"class_path": f"{plain_class.__module__}.{plain_class.__qualname__}", "init_args": value}
    if "class_path" not in value:
        return {name: as_node(part, mapping_types(hint)[1]) for name, part in value.items()}
    hints = signature(resolve(value["class_path"]))[1]
    node = {name: as_node(part, hints.get(name, object)) for name, part in value.get("init_args", {}).items()}
    partial = {"_partial_": True} if takes_callable(hint) else {}
    return {"_target_": value["class_path"]} | partial | node | value.get("dict_kwargs", {})


if __name__ == "__main__":
    main()
