"""The convolution blocks that backbones and heads share, and how their weights begin."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

NormFactory = Callable[[int], nn.Module]
"""Makes the normalisation of a number of channels: `torch.nn.BatchNorm2d`, `GroupNorm`, ..."""


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Convolution, padded so that a side of n becomes ceil(n / stride); a bias, if there is one, begins at zero.

    Weights are drawn from He's normal distribution (He et al., ICCV 2015; fan out, ReLU). With torch's own
    start of the normalisations, weight one and bias zero, this is where MMSegmentation's networks begin, for
    which its recipes are tuned.

    Raises:
        ValueError: If `kernel_size` is even, for which there is no such padding.
    """
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd to keep the size of the map, got {kernel_size}")
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2 * dilation,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if bias:
        nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    norm: NormFactory = nn.BatchNorm2d,
) -> nn.Sequential:
    """`convolution` and normalisation, as children `conv` and `norm`."""
    conv = convolution(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(out_channels)))


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    norm: NormFactory = nn.BatchNorm2d,
) -> nn.Sequential:
    """`convolution`, normalisation and ReLU, as children `conv`, `norm` and `relu`."""
    conv = convolution(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(out_channels), relu=nn.ReLU(inplace=True)))


def separable_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    depthwise_relu: bool = True,
    norm: NormFactory = nn.BatchNorm2d,
) -> nn.Sequential:
    """A convolution of each channel by itself, then one that mixes them (Chollet, CVPR 2017).

    They are the children `depthwise` and `pointwise`, each as `conv_norm_relu` makes it; without `depthwise_relu` the
    first is a `conv_norm`.
    """
    depthwise = (conv_norm_relu if depthwise_relu else conv_norm)(
        in_channels, in_channels, kernel_size, stride=stride, dilation=dilation, groups=in_channels, norm=norm
    )
    pointwise = conv_norm_relu(in_channels, out_channels, 1, norm=norm)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise))


def norm_relu_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    groups: int = 1,
    norm: NormFactory = nn.BatchNorm2d,
) -> nn.Sequential:
    """Normalisation, ReLU and `convolution` in this order, as children `norm`, `relu` and `conv`."""
    conv = convolution(in_channels, out_channels, kernel_size, groups=groups)
    return nn.Sequential(OrderedDict(norm=norm(in_channels), relu=nn.ReLU(inplace=True), conv=conv))


class GroupNorm(nn.GroupNorm):
    """Group normalisation as a `NormFactory`; it never mixes images, so it suits batches of one or two.

    Torch's own takes the channels second, where neither Hydra nor LightningCLI can leave them open.

    Raises:
        ValueError: If `num_groups` does not divide `channels`.
    """

    def __init__(self, channels: int, num_groups: int = 32) -> None:
        if channels % num_groups:
            raise ValueError(f"num_groups={num_groups} does not divide a layer of {channels} channels")
        super().__init__(num_groups, channels)
