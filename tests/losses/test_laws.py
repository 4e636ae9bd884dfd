"""What must be true of every loss and of the sampler, in every combination."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    SegmentationCriterion,
    TverskyLoss,
)
from seglit.losses.class_weight import measured_class_weight
from seglit.losses.loss import Loss
from seglit.losses.ohem import hard_pixels, kth_greatest, ranking
from seglit.losses.pixels import Pixels

MAKE: dict[str, Callable[..., Loss]] = {
    "ce": CrossEntropyLoss,
    "bce": lambda **options: CrossEntropyLoss(use_sigmoid=True, **options),
    "focal": FocalLoss,
    "focal-softmax": lambda **options: FocalLoss(use_sigmoid=False, gamma=0.5, **options),
    "dice": DiceLoss,
    "tversky": TverskyLoss,
    "lovasz": LovaszLoss,
    "lovasz-image": lambda **options: LovaszLoss(per_image=True, **options),
}
SAMPLERS = {"all": None, "thresh": OHEMPixelSampler(0.5, 3), "hardest": OHEMPixelSampler(None, 5)}
every_loss = pytest.mark.parametrize("name", MAKE)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def draw(seed: int = 0, ignore_index: int = 255) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 4, 6, 5, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 4, (2, 6, 5), generator=generator)
    labels[torch.rand(2, 6, 5, generator=generator) < 0.3] = ignore_index
    return logits.requires_grad_(), labels


def head(name: str, sampler: str = "all", **options: object) -> HeadCriterion:
    return HeadCriterion({"loss_x": MAKE[name](**options)}, SAMPLERS[sampler])


@every_loss
@every_sampler
def test_void_changes_nothing_and_gets_no_gradient(name: str, sampler: str) -> None:
    logits, labels = draw()
    criterion = head(name, sampler, class_weight=[1.0, 2.0, 0.5, 3.0])
    value = criterion(logits, labels)["loss_x"]
    value.backward()
    void = (labels == 255)[:, None].expand_as(logits)
    assert logits.grad[void].count_nonzero() == 0
    assert logits.grad[~void].count_nonzero() > 0
    other = torch.where(void, torch.randn_like(logits) * 50, logits)
    assert_close(criterion(other, labels)["loss_x"], value, rtol=1e-12, atol=0)


@every_loss
@every_sampler
def test_all_void_is_zero_with_zero_gradient(name: str, sampler: str) -> None:
    logits, labels = draw()
    terms = head(name, sampler, avg_non_ignore=name not in {"lovasz"})(logits, torch.full_like(labels, 255))
    assert terms["loss_x"].item() == 0
    assert terms["acc_seg"].item() == 0
    terms["loss_x"].backward()
    assert logits.grad.count_nonzero() == 0


@every_loss
@every_sampler
@pytest.mark.parametrize("size", [1e4, 0.0])
def test_saturated_logits_are_finite(name: str, sampler: str, size: float) -> None:
    logits, labels = draw()
    logits = (logits.detach().sign() * size).requires_grad_()
    value = head(name, sampler)(logits, labels)["loss_x"]
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@every_loss
def test_one_valid_pixel(name: str) -> None:
    logits, labels = draw()
    labels = torch.full_like(labels, 255)
    labels[0, 0, 0] = 1
    value = head(name)(logits, labels)["loss_x"]
    value.backward()
    assert value > 0
    assert logits.grad.abs().sum((1,))[labels == 255].count_nonzero() == 0


@every_loss
def test_a_class_of_weight_two_is_its_pixels_twice(name: str) -> None:
    """The pixels laid side by side, those of class 1 once more."""
    logits, labels = draw()
    flat, flat_labels = logits.detach()[:1].flatten(2), labels[:1].flatten(1)
    again = flat_labels[0] == 1
    twice = torch.cat([flat, flat[:, :, again]], 2)[:, :, None]
    twice_labels = torch.cat([flat_labels, flat_labels[:, again]], 1)[:, None]
    # One divisor for both: `class_weight` counts a pixel of weight two twice.
    weighted = {"class_weight": [1.0, 2.0, 1.0, 1.0]} | (
        {"divisor": "class_weight"} if "ce" in name[:3] or "focal" in name else {}
    )
    plain = {"divisor": "valid"} if "divisor" in weighted else {}
    one = head(name, **weighted)(flat[:, :, None], flat_labels[:, None])["loss_x"]
    other = head(name, **plain)(twice, twice_labels)["loss_x"]
    assert_close(one, other, rtol=1e-9, atol=1e-12)


@every_loss
def test_half_precision_is_near(name: str) -> None:
    """Within the rounding of the logits: 2**-8 for bfloat16 of logits up to 8."""
    logits, labels = draw()
    exact = head(name)(logits, labels)["loss_x"].item()
    for dtype in (torch.bfloat16, torch.float16):
        value = head(name)(logits.detach().to(dtype), labels)["loss_x"]
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact, rel=2e-2)


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "dice", "tversky"])
def test_sums_of_parts_are_the_sums_of_the_whole(name: str) -> None:
    logits, labels = draw()
    loss = MAKE[name](class_weight=[1.0, 2.0, 0.5, 3.0])
    whole = loss.statistics(Pixels(logits, labels, 255))
    parts = [loss.statistics(Pixels(logits[:, :, rows], labels[:, rows], 255)) for rows in (slice(0, 2), slice(2, 6))]
    for key, value in whole.items():
        assert_close(sum(part[key] for part in parts), value, rtol=1e-12, atol=1e-12)


def test_focal_without_fading_is_cross_entropy() -> None:
    logits, labels = draw()
    for use_sigmoid in (False, True):
        focal = HeadCriterion({"loss_x": FocalLoss(use_sigmoid, gamma=0.0, alpha=None)})
        entropy = HeadCriterion({"loss_x": CrossEntropyLoss(use_sigmoid)})
        assert_close(focal(logits, labels)["loss_x"], entropy(logits, labels)["loss_x"])


def test_even_tversky_is_dice() -> None:
    logits, labels = draw()
    tversky = HeadCriterion({"loss_x": TverskyLoss(smooth=0.5, alpha=0.5, beta=0.5)})(logits, labels)["loss_x"]
    dice = HeadCriterion({"loss_x": DiceLoss(smooth=1.0, exponent=1)})(logits, labels)["loss_x"]
    assert_close(tversky, dice)


@pytest.mark.parametrize("seed", range(5))
def test_sampler_laws(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.randint(0, 6, (2, 5, 5), generator=generator) / 2
    valid = torch.rand(2, 5, 5, generator=generator) < 0.7
    previous = torch.zeros_like(valid)
    for thresh in (0.1, 0.3, 0.5, 0.9):
        kept = hard_pixels(losses, valid, thresh=thresh, min_kept=4)
        assert not (kept & ~valid).any()
        assert kept.sum() >= min(8, int(valid.sum()))
        assert not (previous & ~kept).any()
        previous = kept
    assert torch.equal(hard_pixels(losses, valid, thresh=0.5, min_kept=1000), valid)
    order = torch.randperm(50, generator=generator)
    shuffled = hard_pixels(
        losses.flatten()[order].view(2, 5, 5), valid.flatten()[order].view(2, 5, 5), thresh=None, min_kept=4
    )
    assert torch.equal(shuffled.flatten(), hard_pixels(losses, valid, thresh=None, min_kept=4).flatten()[order])
    assert not hard_pixels(losses, torch.zeros_like(valid), thresh=0.5, min_kept=4).any()
    assert torch.equal(hard_pixels(losses, valid, thresh=0.5, min_kept=0), valid & (losses > 0.6932))


@every_loss
def test_a_loss_alone_is_the_term_of_a_head(name: str) -> None:
    logits, labels = draw()
    loss = MAKE[name](loss_weight=3.0)
    assert_close(loss(Pixels(logits, labels, 255)), HeadCriterion({"loss_x": loss})(logits, labels)["loss_x"])
    assert_close(loss(Pixels(logits, labels, 255)), 3 * MAKE[name]()(Pixels(logits, labels, 255)))


@pytest.mark.parametrize("name", ["dice", "tversky", "lovasz-image"])
def test_an_image_of_void_alone_counts_as_asked(name: str) -> None:
    logits, labels = (torch.cat([part, part[:1]]) for part in draw())
    labels[2] = 255
    for avg_non_ignore, images in ((True, 2), (False, 3)):
        criterion = head(name, avg_non_ignore=avg_non_ignore)
        without = criterion(logits[:2], labels[:2])["loss_x"]
        assert_close(criterion(logits, labels)["loss_x"], without * 2 / images)


def test_void_hides_no_mistake_about_an_absent_class() -> None:
    """The pixels that are surest of class 3 are void, and no label is 3."""
    logits, labels = draw()
    labels[labels == 3] = 0
    criterion = HeadCriterion({"loss_x": LovaszLoss(classes="all")})
    sure = logits.detach().clone()
    sure[:, 3] = torch.where(labels == 255, 50.0, sure[:, 3])
    assert_close(criterion(sure, labels)["loss_x"], criterion(logits, labels)["loss_x"].detach())
    flat = logits.detach().movedim(1, 0).flatten(1)[:, labels.flatten() != 255][None, :, None]
    alone = criterion(flat, labels[labels != 255].view(1, 1, -1))["loss_x"]
    assert_close(criterion(sure, labels)["loss_x"], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kth_greatest_is_that_of_sorting(dtype: torch.dtype) -> None:
    """Also among neighbouring numbers, and where a zero has a sign."""
    generator = torch.Generator().manual_seed(0)
    near = [torch.tensor(2.0, dtype=dtype)]
    for _ in range(9):
        near.append(torch.nextafter(near[-1], near[0] * 2))
    draws = torch.rand(20, dtype=dtype, generator=generator)
    values = torch.cat([draws, torch.stack(near), torch.tensor([-0.0, 0.0, -0.0], dtype=dtype)])
    chosen = torch.rand(len(values), generator=generator) < 0.8
    expected = values[chosen].sort(descending=True).values
    known = torch.where(chosen, values + 0.0, -1.0)
    for k in range(1, len(expected) + 1):
        assert kth_greatest(known, torch.tensor(k)) == expected[k - 1]
        found = OHEMPixelSampler(None, k).limit(ranking(values.view(1, 1, -1), chosen.view(1, 1, -1)))
        assert found == expected[k - 1]
    assert kth_greatest(known, torch.tensor(len(values) + 1)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pixel_at_thresh_is_not_below_it(dtype: torch.dtype) -> None:
    at = torch.tensor(-math.log(0.7), dtype=dtype)
    losses = torch.stack([at, torch.nextafter(at, at + 1)]).view(1, 1, 2)
    kept = hard_pixels(losses, torch.ones(1, 1, 2, dtype=torch.bool), thresh=0.7, min_kept=0)
    assert kept.flatten().tolist() == [False, True]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("ignore_index", [255, 0])
def test_void_is_neither_right_nor_surprising(channels: int, ignore_index: int) -> None:
    logits, labels = draw(ignore_index=ignore_index)
    logits = logits.detach()[:, :channels]
    labels = torch.where(labels == ignore_index, labels, labels.clamp(max=max(channels, 2) - 1))
    valid = labels != ignore_index
    guess = (logits[:, 0] > 0).long() if channels == 1 else logits.argmax(1)
    pixels = Pixels(logits, labels, ignore_index)
    assert torch.equal(pixels.correct(), valid & (guess == labels))
    for use_sigmoid in (False, True):
        surprise = pixels.surprise(use_sigmoid=use_sigmoid)
        assert surprise[~valid].count_nonzero() == 0
        assert (surprise[valid] > 0).all()


def test_the_surprise_of_one_channel_is_of_the_class_that_is_true() -> None:
    logits, labels = draw()
    labels = torch.where(labels == 255, labels, labels.clamp(max=1))
    one = logits.detach()[:, :1]
    pixels = Pixels(one, labels, 255)
    probability = torch.where(labels == 1, one[:, 0].sigmoid(), 1 - one[:, 0].sigmoid())
    assert_close(pixels.surprise(use_sigmoid=True), torch.where(labels == 255, 0.0, -probability.log()))


@pytest.mark.parametrize("tiled", [True, False])
def test_terms_that_are_logged_only_get_no_gradient(tiled: bool) -> None:
    logits, labels = draw()
    losses = {"loss_ce": CrossEntropyLoss(), "watched": DiceLoss()}
    criterion = SegmentationCriterion(decode=HeadCriterion(losses), tiled=tiled)
    terms = criterion({"decode": logits}, labels)
    assert_close(terms["loss"], terms["decode.loss_ce"])
    assert not terms["decode.watched"].requires_grad
    assert [row["trained"] for row in criterion.describe({"decode": 3}, torch.device("cpu"))] == [True, False]


def test_the_loss_is_the_sum_of_the_heads() -> None:
    logits, labels = draw()
    criterion = SegmentationCriterion(
        decode=HeadCriterion({"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss(loss_weight=3.0)}),
        aux=HeadCriterion({"loss_ce": CrossEntropyLoss()}, weight=0.4),
    )
    terms = criterion({"decode": logits, "aux": logits}, labels)
    assert_close(terms["loss"], terms["decode.loss_ce"] * 1.4 + terms["decode.loss_dice"])
    with pytest.raises(ValueError, match="but outputs of"):
        criterion({"decode": logits}, labels)


REFUSED = [
    (lambda: CrossEntropyLoss(loss_weight=-1.0), "loss_weight"),
    (lambda: CrossEntropyLoss(class_weight=[1.0, -1.0]), "not negative"),
    (lambda: CrossEntropyLoss(class_weight="auto:bad"), "no such rule"),
    (lambda: CrossEntropyLoss(class_weight="/nowhere/weights.txt"), "cannot read"),
    (lambda: CrossEntropyLoss(avg_non_ignore=True, divisor="all"), "both name a divisor"),
    (lambda: CrossEntropyLoss(divisor="class_weight"), "without class_weight"),
    (lambda: FocalLoss(gamma=-1.0), "gamma"),
    (lambda: FocalLoss(alpha=2.0), "alpha"),
    (lambda: DiceLoss(smooth=0.0), "smooth"),
    (lambda: DiceLoss(exponent=0), "exponent"),
    (lambda: DiceLoss(per_image=False, avg_non_ignore=True), "no effect"),
    (lambda: TverskyLoss(smooth=0.0), "smooth"),
    (lambda: TverskyLoss(alpha=0.0, beta=0.0), "alpha and beta"),
    (lambda: LovaszLoss(avg_non_ignore=True), "no effect"),
    (lambda: LovaszLoss(classes=[]), "classes"),
    (lambda: OHEMPixelSampler(thresh=1.5), "thresh"),
    (lambda: OHEMPixelSampler(min_kept=-1), "min_kept"),
    (lambda: OHEMPixelSampler(None, 0), "keeps no pixel"),
    (lambda: HeadCriterion({"ce": CrossEntropyLoss()}), "nothing would be trained"),
    (lambda: HeadCriterion({"loss_ce": CrossEntropyLoss()}, weight=-1.0), "weight"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


CHECKED = [
    (CrossEntropyLoss(class_weight=[1.0, 2.0]), 4, 4, "2 weights for 4 classes"),
    (CrossEntropyLoss(divisor="kept"), 4, 4, "without a sampler"),
    (CrossEntropyLoss(), 2, 1, "one channel"),
    (FocalLoss(alpha=[0.1, 0.2]), 4, 4, "2 numbers for 4 channels"),
    (LovaszLoss(classes=[4]), 4, 4, "beyond the 4"),
    (LovaszLoss(classes="all"), 2, 1, "without effect"),
]


@pytest.mark.parametrize(("loss", "classes", "channels", "words"), CHECKED, ids=[words for *_, words in CHECKED])
def test_a_loss_must_fit_the_head(loss: Loss, classes: int, channels: int, words: str) -> None:
    criterion = SegmentationCriterion(decode=HeadCriterion({"loss_x": loss}))
    with pytest.raises(ValueError, match=rf"criterion\.decode\.losses\.loss_x\..*{words}"):
        criterion.check(classes, {"decode": channels})


COMPAT_REFUSED = [
    (CrossEntropyLoss(divisor="valid"), None, "mmseg-1.2"),
    (CrossEntropyLoss(use_sigmoid=True), OHEMPixelSampler(None, 2), "mmseg-1.2"),
    (FocalLoss(use_sigmoid=False), None, "mmseg-0.25"),
    (FocalLoss(), OHEMPixelSampler(0.5, 2), "mmseg-0.25"),
    (DiceLoss(per_image=False), None, "mmseg-0.25"),
    (DiceLoss(use_sigmoid=True), None, "mmseg-0.25"),
    (DiceLoss(class_weight=[1.0, 2.0]), None, "mmseg-1.2"),
    (DiceLoss(exponent=3), None, "mmseg-1.2"),
    (DiceLoss(), OHEMPixelSampler(0.5, 2), "mmseg-1.2"),
    (TverskyLoss(), None, "mmseg-0.25"),
    (TverskyLoss(use_sigmoid=True), None, "mmseg-1.2"),
    (LovaszLoss(per_image=True, avg_non_ignore=True), None, "mmseg-1.2"),
    (LovaszLoss(per_image=True), OHEMPixelSampler(None, 2), "mmseg-1.2"),
]


@pytest.mark.parametrize(("loss", "sampler", "compat"), COMPAT_REFUSED)
def test_compat_refuses_what_the_release_has_not(loss: Loss, sampler: OHEMPixelSampler | None, compat: str) -> None:
    with pytest.raises(ValueError, match=r"losses\.loss_x: compat='mmseg-.*': MMSegmentation has no"):
        HeadCriterion({"loss_x": loss}, sampler, compat=compat)


@pytest.mark.parametrize("compat", ["mmseg-0.25", "mmseg-1.2"])
@every_sampler
def test_compat_differs_as_documented(compat: str, sampler: str) -> None:
    """Theirs divides the kept pixels' loss by all pixels; ours by the kept."""
    logits, labels = draw()
    theirs = HeadCriterion({"loss_ce": CrossEntropyLoss()}, SAMPLERS[sampler], compat=compat)
    ours = HeadCriterion({"loss_ce": CrossEntropyLoss()}, SAMPLERS[sampler])
    all_kept = SAMPLERS[sampler] is None
    same = torch.isclose(theirs(logits, labels)["loss_ce"], ours(logits, labels)["loss_ce"], rtol=1e-6)
    assert bool(same) == all_kept
    assert theirs.describe()[0]["divisor"] == "all"


class TestClassWeight:
    COUNTS = torch.tensor([60, 30, 10, 0])
    IMAGES = torch.tensor([100, 100, 50, 0])

    @pytest.mark.parametrize("rule", ["enet", "inverse", "median_frequency", "effective_number"])
    def test_mean_over_pixels_is_one(self, rule: str) -> None:
        weight = measured_class_weight(rule, self.COUNTS, self.IMAGES)
        assert (weight * self.COUNTS).sum().item() == pytest.approx(100)
        assert weight[0] < weight[1]
        assert weight[3] == 1

    def test_inverse_by_hand(self) -> None:
        """1/p is 5/3, 10/3, 10; times p they sum to 3."""
        weight = measured_class_weight("inverse", self.COUNTS, self.IMAGES)
        assert_close(weight[:3], torch.tensor([5 / 9, 10 / 9, 10 / 3], dtype=torch.float64))

    def test_median_frequency_by_hand(self) -> None:
        """Frequencies 0.6, 0.3, 0.2 with median 0.3: weights 0.5, 1, 1.5, whose mean over pixels is 0.75."""
        weight = measured_class_weight("median_frequency", self.COUNTS, self.IMAGES)
        assert_close(weight[:3], torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64) / 0.75)

    @pytest.mark.parametrize(
        ("rule", "weigh"),
        [
            ("enet", lambda count: 1 / math.log(1.02 + count / 100)),
            ("effective_number", lambda count: 1 / (1 - 0.99**count)),
        ],
    )
    def test_ratios_are_those_of_the_formula(self, rule: str, weigh: Callable[[int], float]) -> None:
        weight = measured_class_weight(rule, self.COUNTS, self.IMAGES)
        for first, second in ((0, 1), (1, 2)):
            expected = weigh(int(self.COUNTS[first])) / weigh(int(self.COUNTS[second]))
            assert (weight[first] / weight[second]).item() == pytest.approx(expected)

    def test_no_labelled_pixel(self) -> None:
        with pytest.raises(ValueError, match="no labelled pixel"):
            measured_class_weight("enet", torch.zeros(2).long(), torch.zeros(2).long())

    @pytest.mark.parametrize("text", ["[1, 2.5]", "1 2.5", "1,2.5\n"])
    def test_from_a_file(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "weights.txt").write_text(text)
        assert CrossEntropyLoss(class_weight=str(tmp_path / "weights.txt")).class_weight == (1.0, 2.5)

    def test_garbage_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "weights.txt").write_text("heavy")
        with pytest.raises(ValueError, match=r"weights\.txt holds no list of numbers"):
            CrossEntropyLoss(class_weight=str(tmp_path / "weights.txt"))

    def test_auto_must_be_measured(self) -> None:
        logits, labels = draw()
        criterion = SegmentationCriterion(decode=HeadCriterion({"loss_ce": CrossEntropyLoss(class_weight="auto")}))
        assert criterion.needs_label_counts()
        with pytest.raises(RuntimeError, match="not measured yet"):
            criterion({"decode": logits}, labels)
        criterion.measure_class_weight(self.COUNTS, self.IMAGES)
        assert criterion({"decode": logits}, labels)["loss"].isfinite()


def test_what_the_sampler_kept_is_told() -> None:
    logits, labels = draw()
    terms = head("ce", "thresh")(logits, labels)
    surprise = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    kept = hard_pixels(surprise, labels != 255, thresh=0.5, min_kept=3)
    assert_close(terms["kept_share"], kept[labels != 255].double().mean())
    for label in range(4):
        share = kept[labels == label].double().mean()
        assert_close(terms["kept_share_by_class"][label], share)
    probability = (-surprise).exp()
    assert probability[kept].max() <= terms["kept_thresh"] < probability[(labels != 255) & ~kept].min()
    absent = head("ce", "thresh")(logits, labels.masked_fill(labels == 2, 1))
    assert absent["kept_share_by_class"][2].isnan()
    assert "kept_share" not in head("ce")(logits, labels)


def test_compat_averages_sigmoids_of_valid_pixels_over_channels() -> None:
    """As MMSegmentation 1.2, whose mask of valid pixels has the channels of the logits."""
    logits, labels = draw()
    theirs = HeadCriterion({"loss_ce": CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True)}, compat="mmseg-1.2")
    target = torch.nn.functional.one_hot(labels.masked_fill(labels == 255, 0), 4).movedim(-1, 1).double()
    terms = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    assert_close(theirs(logits, labels)["loss_ce"], terms.movedim(1, -1)[labels != 255].mean(), rtol=1e-6, atol=0)


def test_the_divisor_of_overlaps_counts_void_images_unless_told() -> None:
    pixels = Pixels(torch.zeros(2, 4, 1, 1), torch.tensor([[[0]], [[255]]]), 255)
    assert DiceLoss().divisor_of(pixels) == 2
    assert DiceLoss(avg_non_ignore=True).divisor_of(pixels) == 1
