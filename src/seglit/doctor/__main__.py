"""Examine a data set: `python -m seglit.doctor +experiment=... data.root=...`, with the overrides of seglit.train."""

import os
from pathlib import Path

import hydra
from omegaconf import DictConfig

from seglit.check import check
from seglit.config import ConfigError, conf_dir, plain, readable_errors
from seglit.startup import without_collection
from seglit.train import refuse_unwritable, refuse_user_shadowing, without_empty_folder

FOUND: list[int] = []
"""The faults of each job, as Hydra keeps what a job returns."""


def main() -> None:
    """The command. Status 1 if there are faults that spoil training, 2 for a mistake in the configuration."""
    # Hydra would print its own words and hide the error from us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    FOUND.clear()
    with readable_errors():
        _composed()
    raise SystemExit(int(any(FOUND)))


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def _composed(cfg: DictConfig) -> None:
    # Inside as well: Hydra announces what leaves a job in words of its own.
    with without_empty_folder(), readable_errors():
        refuse_user_shadowing()
        FOUND.append(run(cfg))


def run(cfg: DictConfig) -> int:
    """Examine the data set of a configuration, print the report and write it into `output_dir`.

    The test split is looked at where the run would test.

    Returns:
        The number of faults.

    Raises:
        ConfigError: where the configuration would not do what it says.
    """
    with without_collection():
        check(cfg)

        from rich.console import Console

        from seglit.build import built, hush
        from seglit.data.errors import DataError
        from seglit.doctor.examination import PARTS, examine
        from seglit.doctor.findings import Place, finding
        from seglit.doctor.report import Report

    hush()
    content = plain(cfg)
    root, folder = Path(str(cfg.data.root)), Path(cfg.output_dir)
    refuse_unwritable(folder)
    try:
        data = built(cfg.data, "data")
    except ConfigError as error:
        refused = error.__cause__.__cause__ if error.__cause__ is not None else None
        if not isinstance(refused, DataError):
            raise
        said, _, mend = str(refused).rpartition("; ")
        found = finding(
            "description", said or str(refused), mend or "correct classes.json", [Place(root / "classes.json")]
        )
        report = Report(root, found, [], None)
    else:
        parts = PARTS if cfg.test_after_fit else PARTS[:2]
        report = examine(data, parts, model=content["model"], train_transforms=content["data"].get("train_transforms"))
    # Paths and overrides stay in one piece, for those who copy them.
    Console().print(report.as_text(), soft_wrap=True)
    written = report.write(folder)
    print(f"the report is in {', '.join(map(str, written))}")
    return len(report.faults)


if __name__ == "__main__":
    main()
