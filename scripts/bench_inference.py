"""Time and memory from an image to labels: seglit against MMSegmentation, with the same net.

python scripts/bench_inference.py
python scripts/bench_inference.py --short --json rows.json

An image of 1024 x 2048 read by 9 windows of 512 x 1024 at a stride of 341 x 683 (`slide`), or at once (`whole`). The
net is light, of output stride 8: what is compared is what happens to its logits, and its own time is shown. Both sides
call the same modules. MMSegmentation is called through `slide_inference` or `whole_inference` of its EncoderDecoder,
and argmax. Labels must agree but for a pixel in a hundred thousand, as logits are added in another order. Float32.
Peak memory is that of a process of its own: the greatest resident memory in one call less that before it, with
MALLOC_MMAP_THRESHOLD_=65536.
"""

import argparse
import importlib
import sys
import warnings
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

import benching
import peers
from benching import Row
from seglit.inference import Inference

SIZE, WINDOW, STRIDE = (1024, 2048), (512, 1024), (341, 683)
CLASSES = (19, 150)
MODES = ("slide", "whole")
MAY_DIFFER = 1e-5


class LightBackbone(nn.Module):
    """Three convolutions of stride 2, which is as little as a stride of 8 takes."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 16, 32)
        self.layers = nn.Sequential(
            *[nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()) for before, after in pairwise(widths)]
        )

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """The one feature."""
        return (self.layers(image),)


class Shared(nn.Module):
    """MMSegmentation's model as a net of seglit."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.decode_head = model.decode_head

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The logits."""
        return {"decode": self.decode_head(self.model.extract_feat(image))}


class Contenders:
    """Both sides, with one image.

    Args:
        classes: how many.
        mode: `slide` or `whole`.
    """

    def __init__(self, classes: int, mode: str) -> None:
        torch.manual_seed(0)
        peers.stand_in_for_mmcv_operations()
        model_type = importlib.import_module("mmseg.models").EncoderDecoder
        config = importlib.import_module("mmengine").ConfigDict
        registry = importlib.import_module("mmseg.registry").MODELS
        registry.register_module(module=LightBackbone, force=True)
        head = {
            "type": "FCNHead",
            "in_channels": 32,
            "channels": 32,
            "num_convs": 0,
            "concat_input": False,
            "num_classes": classes,
            "dropout_ratio": 0.0,
            "align_corners": False,
        }
        slide = {"mode": "slide", "crop_size": WINDOW, "stride": STRIDE} if mode == "slide" else {"mode": "whole"}
        self.model = model_type({"type": "LightBackbone"}, head, test_cfg=config(slide)).eval()
        nn.init.normal_(self.model.decode_head.conv_seg.weight)
        self.mode = mode
        self.net = Shared(self.model).eval()
        self.image = torch.randn(1, 3, *SIZE)
        self.inference = Inference(WINDOW, STRIDE) if mode == "slide" else Inference()
        self.meta = [{"img_shape": SIZE, "ori_shape": SIZE, "pad_shape": SIZE}]

    @torch.no_grad()
    def seglit(self) -> Tensor:
        """The labels."""
        return self.inference.predict(self.net, self.image, SIZE)

    @torch.no_grad()
    def mmseg(self) -> Tensor:
        """The labels."""
        call = self.model.slide_inference if self.mode == "slide" else self.model.whole_inference
        return cast(Tensor, call(self.image, self.meta).argmax(1))

    @torch.no_grad()
    def net_alone(self) -> None:
        """What both let the net do."""
        tops = (0, STRIDE[0], SIZE[0] - WINDOW[0]) if self.mode == "slide" else (0,)
        lefts = (0, STRIDE[1], SIZE[1] - WINDOW[1]) if self.mode == "slide" else (0,)
        height, width = WINDOW if self.mode == "slide" else SIZE
        for top in tops:
            for left in lefts:
                self.net(self.image[:, :, top : top + height, left : left + width])


def timed(classes: int, mode: str, rounds: int) -> Row:
    contenders = Contenders(classes, mode)
    differing = (contenders.seglit() != contenders.mmseg()).float().mean().item()
    if differing > MAY_DIFFER:
        sys.exit(f"{mode}, {classes} classes: {differing:.2%} of the labels differ")
    contenders.net_alone()
    calls = {"seglit": contenders.seglit, "mmseg": contenders.mmseg, "net": contenders.net_alone}
    times = benching.interleaved(calls, rounds)
    note = f"{round(differing * SIZE[0] * SIZE[1])} labels differ; the net takes {min(times['net']):.0f} of both"
    row = benching.time_row(f"{mode} inference to labels", shape(classes), times["seglit"], times["mmseg"], note)
    print(benching.shown(row), flush=True)
    return row


def peak(classes: int, mode: str) -> Row:
    ours, peer = (benching.peak_of(__file__, "--peak", name, str(classes), mode) for name in ("seglit", "mmseg"))
    row = benching.row(f"peak memory of {mode} inference to labels", shape(classes), ours, peer, "MiB")
    print(benching.shown(row), flush=True)
    return row


def shape(classes: int) -> str:
    return f"{classes}x{SIZE[0]}x{SIZE[1]}"


def added(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help="of each row; 7, or 3 in the short form")
    parser.add_argument("--no-peak", action="store_true", help="times alone")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)


def main() -> None:
    warnings.simplefilter("ignore")
    options = benching.options_of(__doc__, added)
    benching.among_peers(options, __file__)
    if options.peak:
        name, classes, mode = options.peak
        contenders = Contenders(int(classes), mode)
        # What torch makes once, its threads and tables, is no part of a call.
        contenders.net(contenders.image[:, :, :64, :64])
        benching.print_peak(getattr(contenders, name))
        return
    print(benching.header(torch.get_num_threads(), ("torch", "mmsegmentation", "mmengine")))
    rounds = options.rounds or (3 if options.short else 7)
    print(f"median of {rounds} rounds, float32\n", flush=True)
    try:
        peers.stand_in_for_mmcv_operations()
        importlib.import_module("mmseg.models")
    except ImportError as error:
        print(f"mmseg cannot be imported: {error}", file=sys.stderr)
        sys.exit(benching.UNAVAILABLE)
    cases = [("slide", 19)] if options.short else [(mode, classes) for mode in MODES for classes in CLASSES]
    rows = [timed(classes, mode, rounds) for mode, classes in cases]
    rows += [] if options.no_peak else [peak(classes, mode) for mode, classes in cases]
    benching.written(rows, options.json)


if __name__ == "__main__":
    main()
