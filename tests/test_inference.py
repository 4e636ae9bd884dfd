"""Inference: laws of windows and views, the slow reference, every option and every refusal."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from reference import inference as reference
from seglit.crops import TensorCrops
from seglit.inference import Inference, predict_labels


class StubHead(nn.Module):
    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners


class StubNet(nn.Module):
    """Logits that depend on the neighbourhood and on the place in the window, at a stride of its own."""

    def __init__(self, channels: int = 3, stride: int = 2, align_corners: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Conv2d(3, channels, 3, stride=stride, padding=1)
        self.decode_head = StubHead(align_corners)
        self.seen: list[tuple[int, int]] = []
        self.double().eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        self.seen.append((image.shape[2], image.shape[3]))
        return {"decode": self.layer(image)}


class PixelNet(StubNet):
    """Each pixel's logits from that pixel alone."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__(channels)
        self.layer = nn.Conv2d(3, channels, 1).double()


def picture(height: int, width: int, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(4, 14), st.integers(4, 14)),
    window=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    part=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    align_corners=st.booleans(),
)
def test_windows_equal_the_pixel_by_pixel_reference(
    size: tuple[int, int], window: tuple[int, int], part: tuple[float, float], align_corners: bool
) -> None:
    net = StubNet(align_corners=align_corners)
    stride = (max(1, int(window[0] * part[0])), max(1, int(window[1] * part[1])))
    image = picture(*size)
    with torch.no_grad():
        expected = reference.slide(net, image, window, stride)
    assert_close(Inference(window, stride)(net, image, size), expected)


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_windows_change_nothing_for_a_net_that_sees_single_pixels(
    size: tuple[int, int], window: tuple[int, int]
) -> None:
    net, image = PixelNet(), picture(*size)
    assert_close(Inference(window)(net, image, size), Inference()(net, image, size))


@pytest.mark.parametrize("window", [(12, 16), (20, 16), (12, 40), (99, 99)])
@pytest.mark.parametrize("size", [(12, 16), (24, 33)])
def test_a_window_that_covers_the_image_is_the_whole_image(window: tuple[int, int], size: tuple[int, int]) -> None:
    net, image = StubNet(), picture(12, 16)
    assert torch.equal(Inference(window)(net, image, size), Inference()(net, image, size))


def test_windows_never_leave_the_image_and_keep_their_size() -> None:
    net = StubNet()
    Inference((6, 8), (4, 8))(net, picture(13, 17), (13, 17))
    # Rows start at 0, 4 and 7, columns at 0, 8 and 9.
    assert net.seen == [(6, 8)] * 9


def test_stride_is_two_thirds_of_the_window_unless_given() -> None:
    assert Inference((9, 12)).stride == (6, 8)
    assert Inference((1, 2)).stride == (1, 2)
    assert Inference((9, 12), (9, 1)).stride == (9, 1)
    net, image = StubNet(), picture(20, 20)
    assert torch.equal(Inference((9, 12))(net, image, (20, 20)), Inference((9, 12), (6, 8))(net, image, (20, 20)))
    assert not torch.equal(Inference((9, 12))(net, image, (20, 20)), Inference((9, 12), (3, 3))(net, image, (20, 20)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("flip", "scales"), [(True, (1.0,)), (False, (0.5, 1.0, 1.75)), (True, (0.75, 1.5))])
def test_views_are_mean_probabilities(
    channels: int, align_corners: bool, flip: bool, scales: tuple[float, ...]
) -> None:
    net, image, size = StubNet(channels, align_corners=align_corners), picture(12, 16), (10, 21)
    with torch.no_grad():
        views = [
            reference.view(net, image, scale, flipped, size)
            for scale in scales
            for flipped in ([False, True] if flip else [False])
        ]
    scores = Inference(flip=flip, scales=scales)(net, image, size)
    assert_close(scores, torch.stack(views).mean(0))


def test_single_view_gives_logits_and_several_give_probabilities() -> None:
    net, image = StubNet(), picture(12, 16)
    assert Inference().single_view
    assert Inference((8, 8)).single_view
    assert Inference(scales=[2.0]).single_view
    for several in (Inference(flip=True), Inference(scales=[1.0, 2.0]), Inference((8, 8), flip=True)):
        assert not several.single_view
        scores = several(net, image, (12, 16))
        assert_close(scores.sum(1), torch.ones(2, 12, 16, dtype=torch.float64))
        assert scores.min() >= 0
    assert Inference()(net, image, (12, 16)).min() < 0


def test_flipping_makes_the_scores_of_a_mirror_image_the_mirror_image_of_the_scores() -> None:
    net, image = StubNet(stride=1), picture(8, 11)
    inference = Inference(flip=True)
    assert_close(inference(net, image.flip(-1), (8, 11)), inference(net, image, (8, 11)).flip(-1))
    plain = Inference()
    assert not torch.allclose(plain(net, image.flip(-1), (8, 11)), plain(net, image, (8, 11)).flip(-1))


def test_scales_resize_the_image_that_the_net_sees() -> None:
    net = StubNet()
    Inference(scales=(0.5, 1, 1.25))(net, picture(12, 17), (12, 17))
    assert net.seen == [(6, 8), (12, 17), (15, 21)]


def test_windows_keep_their_size_at_every_scale() -> None:
    net = StubNet()
    Inference((8, 8), (8, 8), scales=(0.5, 1.0))(net, picture(16, 16), (16, 16))
    assert net.seen == [(8, 8)] * 5


def test_a_scale_too_small_for_a_pixel_keeps_one() -> None:
    net = StubNet()
    assert Inference(scales=(0.01,))(net, picture(5, 6), (5, 6)).shape == (2, 3, 5, 6)
    assert net.seen == [(1, 1)]


def test_align_corners_of_the_head_is_heeded() -> None:
    image = picture(12, 16)
    scores = [Inference()(StubNet(align_corners=corners), image, (12, 16)) for corners in (False, True)]
    assert not torch.allclose(scores[0], scores[1])


def test_scores_are_those_of_each_image_alone() -> None:
    net, image = StubNet(), picture(12, 16, batch=3)
    inference = Inference((8, 8), flip=True, scales=(1.0, 1.5))
    together = inference(net, image, (12, 16))
    alone = torch.cat([inference(net, one[None], (12, 16)) for one in image])
    assert_close(together, alone)


@pytest.mark.parametrize("inference", [Inference(), Inference((4, 4)), Inference(flip=True)])
def test_half_precision_logits_are_averaged_in_float32(inference: Inference) -> None:
    net = StubNet().bfloat16()
    assert inference(net, picture(8, 8).bfloat16(), (8, 8)).dtype == torch.float32


def test_no_gradient_and_an_untouched_image() -> None:
    net, image = StubNet(), picture(8, 8)
    before = image.clone()
    assert not Inference((4, 4), flip=True)(net, image, (8, 8)).requires_grad
    assert torch.equal(image, before)


def test_lists_as_a_config_gives_them() -> None:
    net, image = StubNet(), picture(12, 16)
    lists = Inference(window=[6, 8], stride=[3, 4], scales=[1, 1.5])
    tuples = Inference((6, 8), (3, 4), scales=(1.0, 1.5))
    assert torch.equal(lists(net, image, (12, 16)), tuples(net, image, (12, 16)))


def test_labels_are_the_highest_score() -> None:
    scores = torch.tensor([0.2, 0.7, 0.1, -3.0]).view(1, 4, 1, 1)
    labels = predict_labels(scores)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [[[1]]]


def test_labels_of_a_single_channel() -> None:
    scores = torch.tensor([[-0.1, 0.0, 0.1, 0.5, 0.6]]).view(1, 1, 1, 5)
    assert predict_labels(scores).tolist() == [[[0, 0, 1, 1, 1]]]
    assert Inference().labels(scores).tolist() == [[[0, 0, 1, 1, 1]]]
    assert Inference(flip=True).labels(scores).tolist() == [[[0, 0, 0, 0, 1]]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("inference", [Inference(), Inference((8, 8)), Inference(flip=True, scales=(1.0, 2.0))])
def test_predict_is_the_labels_of_the_scores(channels: int, inference: Inference) -> None:
    net, image = StubNet(channels), picture(12, 16)
    labels = inference.predict(net, image, (12, 16))
    scores = inference(net, image, (12, 16))
    expected = scores.argmax(1) if channels > 1 else (scores[:, 0] > (0 if inference.single_view else 0.5)).long()
    assert labels.dtype == torch.int64
    assert torch.equal(labels, expected)
    assert len(labels.unique()) > 1


def test_a_net_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training mode; call net.eval\(\)"):
        Inference()(StubNet().train(), picture(8, 8), (8, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": (4, 4)}, "stride needs a window"),
        ({"window": (8, 8), "stride": (9, 8)}, r"stride must not exceed the window.*\(9, 8\).*\(8, 8\)"),
        ({"window": (8, 8), "stride": (8, 9)}, "stride must not exceed the window"),
        ({"window": (0, 8)}, "window must be two whole positive numbers"),
        ({"window": (8,)}, "window must be two whole positive numbers"),
        ({"window": (8, 8), "stride": (4, -1)}, "stride must be two whole positive numbers"),
        ({"batch_pixels": 9}, "batch_pixels needs a window"),
        ({"window": (8, 8), "batch_pixels": 0}, "batch_pixels must be positive"),
        ({"scales": ()}, "scales must be one or more positive numbers"),
        ({"scales": (1.0, 0.0)}, "scales must be one or more positive numbers"),
        ({"scales": (float("nan"),)}, "scales must be one or more positive numbers"),
        ({"scales": (float("inf"),)}, "scales must be one or more positive numbers"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inference(**options)


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    out=st.none() | st.tuples(st.integers(1, 90), st.integers(1, 150)),
    window=st.none() | st.tuples(st.integers(1, 24), st.integers(1, 45)),
    part=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    views=st.sampled_from([(False, [1.0]), (True, [1.0]), (False, [0.6]), (False, [0.5, 1.7]), (True, [0.75, 1.0])]),
    net=st.tuples(st.sampled_from([1, 2, 5]), st.integers(1, 4), st.booleans()),
    batch=st.integers(1, 3),
    batch_pixels=st.sampled_from([None, 1, 1000]),
)
def test_predict_is_the_labels_of_the_call_to_the_last_pixel(
    size: tuple[int, int],
    out: tuple[int, int] | None,
    window: tuple[int, int] | None,
    part: tuple[float, float],
    views: tuple[bool, list[float]],
    net: tuple[int, int, bool],
    batch: int,
    batch_pixels: int | None,
) -> None:
    options = {}
    if window is not None:
        stride = (max(1, int(window[0] * part[0])), max(1, int(window[1] * part[1])))
        options = {"window": window, "stride": stride, "batch_pixels": batch_pixels}
    inference = Inference(flip=views[0], scales=views[1], **options)
    stub, image = StubNet(*net), picture(*size, batch=batch)
    expected = inference.labels(inference(stub, image, out or size))
    assert torch.equal(inference.predict(stub, image, out or size), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_predict_in_any_mode_of_autograd_and_with_autocast(mode: type) -> None:
    net, image, inference = StubNet(), picture(40, 300), Inference((16, 64), flip=True)
    expected = inference.labels(inference(net, image, (40, 300)))
    with mode(), torch.autocast("cpu", torch.bfloat16):
        # Autocast leaves float64 alone, and must leave alone what happens to the logits.
        assert torch.equal(inference.predict(net, image, (40, 300)), expected)
        single = Inference().predict(net.float(), image.float(), (40, 300))
    with torch.autocast("cpu", torch.bfloat16):
        scores = Inference()(net, image.float(), (40, 300))
    assert (single != Inference().labels(scores)).float().mean() < 1e-3


def test_windows_go_through_the_net_in_batches_and_in_order() -> None:
    image = picture(13, 17)
    seen: dict[int | None, list[tuple[int, int]]] = {}
    for batch_pixels, batches in {None: [2] * 9, 1: [2] * 9, 2 * 48 * 4: [8, 8, 2], 10**6: [18]}.items():
        net = StubNet()
        sizes: list[int] = []
        net.register_forward_pre_hook(lambda _, given, sizes=sizes: sizes.append(len(given[0])))
        Inference((6, 8), (4, 8), batch_pixels=batch_pixels).predict(net, image, (13, 17))
        assert sizes == batches
        seen[batch_pixels] = net.seen
    assert seen[None] == [(6, 8)] * 9


def test_threads_of_torch_are_as_before() -> None:
    before = torch.get_num_threads()
    Inference((6, 8)).predict(StubNet(), picture(13, 17), (13, 17))
    assert torch.get_num_threads() == before
    bands = Inference().bands(StubNet(), TensorCrops(picture(80, 17)), (80, 17))
    assert [(top, band.shape[1]) for top, band in bands] == [(0, 64), (64, 16)]
    assert torch.get_num_threads() == before
