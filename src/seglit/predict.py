"""Label images with a checkpoint: `python -m seglit.predict runs/.../best.ckpt photos/ --output labels`."""

import argparse
import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def main(arguments: list[str] | None = None) -> None:
    """The command. A mistake of the user is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="seglit-predict", description="Label images with a checkpoint.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt that seglit.train wrote; its configuration is inside")
    parser.add_argument("inputs", help="an image, a folder, or a glob pattern in quotes")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder for labels and overlays")
    parser.add_argument("--window", type=int, nargs=2, metavar=("H", "W"), help="slide a window of this size")
    parser.add_argument("--stride", type=int, nargs=2, metavar=("H", "W"), help="steps of the window")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument("--scales", type=float, nargs="+", metavar="S", help="average over these scales")
    parser.add_argument("--no-overlay", action="store_true", help="write labels only")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the best there is by default")
    parser.add_argument("--trust", nargs="+", default=(), metavar="PACKAGE", help="of your own, that it may build from")
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
    flip: bool = False,
    scales: Sequence[float] | None = None,
    overlays: bool = True,
    device: str | None = None,
    packages: Sequence[str] = (),
) -> list[Path]:
    """Write a palette PNG of class indices for each image, and an overlay of it on the image.

    Args:
        checkpoint: written by `seglit.train`.
        inputs: an image, a folder (searched with its subfolders), or a glob pattern.
        output: folder of `<stem>.png` and `<stem>_overlay.png`; subfolders of a given folder are kept.
        window: height and width of a sliding window; None: what the checkpoint was evaluated with.
        stride: its steps.
        flip: average with the mirrored image.
        scales: average over these scales; None: the image's own.
        overlays: write overlays too.
        device: torch's name of the device; None: CUDA where there is one, else the CPU.
        packages: further packages whose classes the checkpoint may name.

    Returns:
        The label files written, in the order of the images.

    Raises:
        ConfigError: where the checkpoint or the inputs are not what they should be.
    """
    import torch
    from rich.progress import track

    from seglit.build import built
    from seglit.checkpoint import load_net, read_checkpoint
    from seglit.config import ConfigError
    from seglit.data.images import read_image
    from seglit.data.normalise import normalise
    from seglit.inference import Inference
    from seglit.pictures import overlay, save_png

    cfg, weights = read_checkpoint(checkpoint, packages)
    images = list(find_images(inputs))
    if not images:
        raise ConfigError(f"{inputs}: no image there; give an image, a folder with images, or a pattern in quotes")
    targets = [output / relative.with_suffix(".png") for _, relative in images]
    if len(set(targets)) < len(targets):
        raise ConfigError(f"{inputs}: two images have one name but for the ending, and would share a label file")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    net = load_net(cfg, weights).to(place)
    if window is None and stride is None and not flip and scales is None:
        inference: Inference = built(cfg.model.inference, "model.inference") if cfg.model.inference else Inference()
    else:
        try:
            inference = Inference(window, stride, flip, scales or (1.0,))
        except ValueError as error:
            raise ConfigError(str(error)) from error
    palette, ignore_index = [tuple(colour) for colour in cfg.data.palette], cfg.data.ignore_index
    for (path, _), target in zip(track(images, description="predicting"), targets, strict=True):
        pixels = read_image(path)
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(place)
        with torch.inference_mode():
            labels = inference.predict(net, normalise(image, cfg.data.mean, cfg.data.std), pixels.shape[:2])
        result = labels[0].cpu().numpy().astype("uint8")
        save_png(target, result, palette)
        if overlays:
            save_png(target.with_name(f"{target.stem}_overlay.png"), overlay(pixels, result, palette, ignore_index))
    print(f"{len(targets)} images labelled; the labels are in {output}")
    return targets


def find_images(inputs: str) -> Iterable[tuple[Path, Path]]:
    """Each image file, and its path below the folder or pattern that was given; sorted by name."""
    root = Path(inputs)
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in IMAGE_ENDINGS:
                yield path, path.relative_to(root)
    elif root.is_file():
        yield root, Path(root.name)
    else:
        for name in sorted(glob.glob(inputs, recursive=True)):  # noqa: PTH207, a pattern may be absolute
            if Path(name).suffix.lower() in IMAGE_ENDINGS:
                yield Path(name), Path(Path(name).name)


if __name__ == "__main__":
    main()
