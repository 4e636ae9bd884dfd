"""Label images with a checkpoint: `python -m seglit.predict runs/.../best.ckpt photos/ --output labels`."""

import argparse
import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from seglit.inference import Inference

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def main(arguments: list[str] | None = None) -> None:
    """The command. A mistake of the user is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="seglit-predict", description="Label images with a checkpoint.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt that seglit.train wrote; its configuration is inside")
    parser.add_argument("inputs", help="an image, a folder, or a glob pattern in quotes")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder for labels and overlays")
    parser.add_argument("--window", type=int, nargs=2, metavar=("H", "W"), help="slide a window of this size")
    parser.add_argument("--stride", type=int, nargs=2, metavar=("H", "W"), help="steps of the window")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average with the mirrored image")
    parser.add_argument("--scales", type=float, nargs="+", metavar="S", help="average over these scales")
    parser.add_argument("--max-pixels", type=int, metavar="N", help="refuse larger images; 178956970 by default")
    parser.add_argument("--no-overlay", action="store_true", help="write labels only")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the best there is by default")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="your own, to build from too")
    options = parser.parse_args(arguments)

    from seglit.config import readable_errors

    with readable_errors():
        predict(
            options.checkpoint,
            options.inputs,
            options.output,
            window=options.window,
            stride=options.stride,
            flip=options.flip,
            scales=options.scales,
            max_pixels=options.max_pixels,
            overlays=not options.no_overlay,
            device=options.device,
            packages=options.trust,
        )


def predict(
    checkpoint: Path,
    inputs: str,
    output: Path,
    *,
    window: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
    flip: bool | None = None,
    scales: Sequence[float] | None = None,
    max_pixels: int | None = None,
    overlays: bool = True,
    device: str | None = None,
    packages: Sequence[str] = (),
) -> list[Path]:
    """Write a PNG of class indices for each image, see `save_labels`, and an overlay of it on the image.

    Of an image that is read by windows, the stored pixels are in memory, 3 bytes each, and beside them no more than the
    rows at work, see `seglit.predicted_files`; a `.npy` file stays on the disk.

    What is None of `window`, `stride`, `flip` and `scales` is as the checkpoint was evaluated.

    Args:
        checkpoint: written by `seglit.train`.
        inputs: an image, a folder (searched with its subfolders), or a glob pattern. An image may be a `.npy` file of
            (height, width, 3) bytes, if it is named or fits the pattern.
        output: folder of `<stem>.png` and `<stem>_overlay.png`, in subfolders as below the given folder or the first
            wildcard of the pattern. What lies in it is no input, if it is inside the folder that is searched.
        window: height and width of a sliding window.
        stride: its steps; None with a `window`: two thirds of it.
        flip: average with the mirrored image.
        scales: average over these scales.
        max_pixels: refuse larger images, see `seglit.data.images.open_pixels`.
        overlays: write overlays too; those of images of more than 2^26 pixels are smaller than these.
        device: torch's name of the device; None: CUDA where there is one, else the CPU.
        packages: further packages whose classes the checkpoint may name.

    Returns:
        The label files written, in the order of the images.

    Raises:
        ConfigError: where the checkpoint or the inputs are not what they should be, two images would share a file, or
            an image would be written over.
    """
    from seglit.startup import without_collection

    with without_collection():
        import torch
        from rich.progress import track

        from seglit.checkpoint import load_net, read_checkpoint
        from seglit.config import ConfigError
        from seglit.crops import PixelCrops
        from seglit.data.images import MAX_PIXELS, open_pixels
        from seglit.predicted_files import write_predictions

        # The check of its configuration imports what it names.
        cfg, weights = read_checkpoint(checkpoint, packages)
    images = list(find_images(inputs, output))
    if not images:
        raise ConfigError(f"{inputs}: no image there; give an image, a folder with images, or a pattern in quotes")
    targets = [output / relative.with_suffix(".png") for _, relative in images]
    refuse_clashes([path for path, _ in images], targets, overlays=overlays)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output}: is no folder; give another --output")
    place = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    net = load_net(cfg, weights).to(place)
    inference = stored_inference(cfg, window, stride, flip, scales)
    palette, ignore_index = [tuple(colour) for colour in cfg.data.palette], cfg.data.ignore_index
    for (path, _), target in zip(track(images, description="predicting"), targets, strict=True):
        crops = PixelCrops(
            open_pixels(path, MAX_PIXELS if max_pixels is None else max_pixels), cfg.data.mean, cfg.data.std, place
        )
        overlaid = overlay_path(target) if overlays else None
        write_predictions(net, inference, crops, target, overlaid, palette, ignore_index)
    print(f"{len(targets)} images labelled; the labels are in {output}")
    return targets


def usable_device(name: str) -> "torch.device":
    """The device of that name.

    Raises:
        ConfigError: where there is none.
    """
    import torch

    from seglit.config import ConfigError

    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: cannot be used ({str(error).splitlines()[0]})") from error


def find_images(inputs: str, output: Path) -> Iterator[tuple[Path, Path]]:
    """Each image file, and its path below the given folder or the first wildcard of the pattern; sorted by name.

    A `.npy` file is one if it is named or fits the pattern; in a folder it is likelier something else.
    Files in `output` are passed over where that is inside the folder, as they are the labels of an earlier call.
    """
    given, endings = Path(inputs), IMAGE_ENDINGS if Path(inputs).is_dir() else IMAGE_ENDINGS | {".npy"}
    if given.is_dir():
        root, paths = given, sorted(given.rglob("*"))
    elif given.is_file():
        root, paths = given.parent, [given]
    else:
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), given.parts))
        paths = sorted({Path(name) for name in glob.glob(inputs, recursive=True)})  # noqa: PTH207, a pattern may be absolute
    earlier = output.resolve()
    inside = root.resolve() in earlier.parents
    for path in paths:
        if path.suffix.lower() in endings and not (inside and earlier in path.resolve().parents):
            yield path, path.relative_to(root)


def refuse_clashes(images: Sequence[Path], targets: Sequence[Path], *, overlays: bool) -> None:
    """Refuse to write two files of one name, or a file over an image.

    Raises:
        ConfigError: names the images, or the image.
    """
    from seglit.config import ConfigError

    sources = {image.resolve() for image in images}
    written: dict[Path, Path] = {}
    for image, target in zip(images, targets, strict=True):
        for path in (target, overlay_path(target)) if overlays else (target,):
            if path.resolve() in sources:
                raise ConfigError(f"{path}: is one of the images, and would be written over; give another --output")
            if (other := written.setdefault(path.resolve(), image)) != image:
                raise ConfigError(f"{other} and {image}: would both be labelled in {path}; rename one")


def overlay_path(target: Path) -> Path:
    """The overlay that belongs to a label file."""
    return target.with_name(f"{target.stem}_overlay.png")


def stored_inference(
    cfg: "DictConfig",
    window: Sequence[int] | None,
    stride: Sequence[int] | None,
    flip: bool | None,
    scales: Sequence[float] | None,
) -> "Inference":
    """How the checkpoint was evaluated, but for the arguments that are not None.

    Raises:
        ConfigError: where the arguments do not go together.
    """
    from omegaconf import OmegaConf

    from seglit.build import built

    given: dict[str, Any] = {"window": window, "stride": stride, "flip": flip, "scales": scales}
    changes = {name: value for name, value in given.items() if value is not None}
    if window is not None:
        changes["stride"] = stride  # the stored steps are those of the stored window
    node = OmegaConf.create(dict(cfg.model.inference or {"_target_": "seglit.inference.Inference"}) | changes)
    inference: Inference = built(node, "model.inference")
    return inference


if __name__ == "__main__":
    main()
