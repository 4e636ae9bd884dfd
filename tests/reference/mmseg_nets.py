"""MMSegmentation's networks in our parts, with its names and with weights that need no file.

The golden numbers were computed by MMSegmentation with weights that are a function of each parameter's name
there and its shape. So a net is compared by naming its parameters as MMSegmentation does and filling them so:

    net = load_mmseg_fill(narrowed_pspnet()).double()
    logits = net.eval()(image("img/pspnet_r50", (1, 3, 64, 96)))["decode"]

- `narrowed_pspnet`, `narrowed_fcn`, `narrowed_unet`: the small nets of the golden numbers, without dropout.
  `pspnet`, `fcn` and `unet` are the same at any width, full width by default.
- `load_mmseg_fill(net)`: fills in place and returns the net.
- `mmseg_key(name)`: MMSegmentation's name of one of our parameters or buffers.
- `running_statistics(net)`: what the golden numbers call BN in eval mode: all heads run, no statistics move.
- `image`, `label_map`: the inputs.
"""

import re
import zlib
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from seglit.backbones import ResNet, UNet
from seglit.heads import FCNHead, PSPHead
from seglit.segmentor import Segmentor


def pspnet(
    num_classes: int = 19,
    *,
    base_channels: int = 64,
    stem_channels: int = 64,
    channels: int = 512,
    aux_channels: int = 256,
) -> Segmentor:
    """`pspnet_r50-d8`."""
    return Segmentor(
        ResNet(50, base_channels=base_channels, stem_channels=stem_channels),
        partial(PSPHead, num_classes=num_classes, channels=channels, dropout_ratio=0.0),
        {"aux": resnet_auxiliary_head(num_classes, aux_channels)},
    )


def fcn(
    num_classes: int = 19,
    *,
    base_channels: int = 64,
    stem_channels: int = 64,
    channels: int = 512,
    aux_channels: int = 256,
) -> Segmentor:
    """`fcn_r50-d8`."""
    return Segmentor(
        ResNet(50, base_channels=base_channels, stem_channels=stem_channels),
        partial(FCNHead, num_classes=num_classes, channels=channels, dropout_ratio=0.0),
        {"aux": resnet_auxiliary_head(num_classes, aux_channels)},
    )


def resnet_auxiliary_head(num_classes: int, channels: int) -> partial[FCNHead]:
    return partial(
        FCNHead,
        num_classes=num_classes,
        channels=channels,
        num_convs=1,
        concat_input=False,
        in_index=-2,
        dropout_ratio=0.0,
    )


def unet(num_classes: int, *, base_channels: int = 64, channels: int = 64) -> Segmentor:
    """`fcn_unet_s5-d16`."""
    head = partial(
        FCNHead,
        num_classes=num_classes,
        channels=channels,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.0,
    )
    return Segmentor(UNet(base_channels=base_channels), partial(head, in_index=0), {"aux": partial(head, in_index=1)})


NARROW = {"base_channels": 8, "stem_channels": 8, "channels": 16, "aux_channels": 8}


def narrowed_pspnet(num_classes: int = 19) -> Segmentor:
    return pspnet(num_classes, **NARROW)


def narrowed_fcn(num_classes: int = 19) -> Segmentor:
    return fcn(num_classes, **NARROW)


def narrowed_unet(num_classes: int) -> Segmentor:
    return unet(num_classes, base_channels=4, channels=4)


RENAMINGS = [
    (r"^auxiliary_heads\.aux\.", "auxiliary_head."),
    (r"^auxiliary_heads\.aux_(\d+)\.", r"auxiliary_head.\1."),
    # A deep stem is one Sequential there; convolution and norm of our block i are its members 3i and 3i + 1.
    (r"^backbone\.stem\.(\d+)\.conv\.", lambda m: f"backbone.stem.{3 * int(m[1])}."),
    (r"^backbone\.stem\.(\d+)\.norm\.", lambda m: f"backbone.stem.{3 * int(m[1]) + 1}."),
    (r"^(backbone\.layer\d\.\d+)\.norm(\d)\.", r"\1.bn\2."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.norm\.", ".downsample.1."),
    (r"^backbone\.encoder\.0\.(\d+)\.", r"backbone.encoder.0.0.convs.\1."),
    # All encoder stages but the first are Sequentials of a pooling and the convolutions.
    (r"^backbone\.encoder\.([1-9])\.(\d+)\.", r"backbone.encoder.\1.1.convs.\2."),
    (r"^(backbone\.decoder\.\d)\.convs\.", r"\1.conv_block.convs."),
    (r"^(backbone\.decoder\.\d)\.upsample\.", r"\1.upsample.interp_upsample.1."),
    (r"\.pools\.(\d)\.", r".psp_modules.\1.1."),
    (r"\.fusion\.", ".conv_cat."),
    (r"\.classifier\.", ".conv_seg."),
    (r"\.norm\.", ".bn."),
]


def mmseg_key(name: str) -> str:
    """MMSegmentation's name of one of our parameters or buffers; of a `v1c` ResNet, a UNet or a head."""
    for pattern, replacement in RENAMINGS:
        name = re.sub(pattern, replacement, name)
    return name


def load_mmseg_fill(net: Segmentor) -> Segmentor:
    """Give every parameter and buffer the golden value of its name in MMSegmentation; returns `net`.

    The values are made in float64 and rounded to the type of the net.
    """
    with torch.no_grad():
        for name, value in net.state_dict().items():
            value.copy_(fill(mmseg_key(name), tuple(value.shape)))
    return net


def running_statistics(net: Segmentor) -> Segmentor:
    """In training mode, so that every head runs, but with the running statistics of batch normalisation."""
    net.train()
    for part in net.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
    return net


def random_state(name: str) -> np.random.RandomState:
    """A stream of numbers that is NumPy's promise never to change."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """The golden value of a parameter or buffer, float64 but for the integer counter."""
    draw, last = random_state(name), name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    if last in ("running_mean", "bias"):
        value = 0.1 * draw.standard_normal(shape)
    elif len(shape) > 1:
        value = draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    else:
        value = 0.5 + draw.rand(*shape)
    return torch.from_numpy(np.asarray(value))


def image(name: str, size: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(random_state(name).standard_normal(size))


def label_map(name: str, size: tuple[int, int, int], classes: int, ignore_index: int | None = 255) -> Tensor:
    """Blocks of 4 x 4 pixels of random classes; a tenth of the pixels is ignored, or none if None."""
    count, height, width = size
    draw = random_state(name)
    blocks = draw.randint(0, classes, size=(count, -(-height // 4), -(-width // 4)))
    labels = blocks.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width].copy()
    if ignore_index is not None:
        labels[draw.rand(*size) < 0.1] = ignore_index
    return torch.from_numpy(labels.astype(np.int64))
