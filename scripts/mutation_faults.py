"""The single faults that mutation_test.py plants, one at a time, and the tests that must catch each."""

from typing import NamedTuple

LOSSES = (
    "tests/losses/test_laws.py",
    "tests/losses/test_reference.py",
    "tests/losses/test_golden_losses.py",
    "tests/losses/test_criterion.py",
)
OHEM = ("tests/losses/test_laws.py", "tests/losses/test_reference.py", "tests/losses/test_golden_ohem.py")
COMPAT = (
    "tests/losses/test_golden_losses.py",
    "tests/losses/test_golden_ohem.py",
    "tests/losses/test_laws.py",
    "tests/losses/test_criterion.py",
)
WHOLE_STEP = ("tests/losses/test_whole_step.py", "-k", "not no_cut")
RANKS = ("tests/losses/test_whole_step.py",)
GROUPS = ("tests/test_optim_groups.py", "tests/test_optim_golden.py")
LAYERS = ("tests/test_optim_layers.py",)
SCHEDULES = ("tests/test_optim_schedules.py", "tests/test_optim_golden.py")
SCORES = ("tests/test_metrics.py", "tests/test_golden_scores.py", "tests/test_scores_of_ranks.py")
BOOTSTRAP = ("tests/test_bootstrap.py",)
BOUNDARY = ("tests/test_boundary.py",)


class Fault(NamedTuple):
    """One fault.

    Attributes:
        name: what is wrong then, in words.
        file: below `src/seglit`.
        old: text that occurs in the file once.
        new: what takes its place.
        tests: arguments for pytest; the quickest tests that ought to tell.
        equivalent: why nobody can tell, where nobody can; such a fault does not count.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""


FAULTS = (
    # Cross-entropy, and what all means over pixels share.
    Fault(
        "targets of sigmoids turned round",
        "losses/cross_entropy.py",
        "pixels.one_hot()",
        "1 - pixels.one_hot()",
        LOSSES,
    ),
    Fault(
        "softmax form takes sigmoids",
        "losses/cross_entropy.py",
        "surprise(use_sigmoid=False)",
        "surprise(use_sigmoid=True)",
        LOSSES,
    ),
    Fault("channels divided by twice", "losses/cross_entropy.py", ".sum(1)", ".mean(1)", LOSSES),
    Fault(
        "pixel weight dropped",
        "losses/pixel_mean.py",
        "(pixels.weight(self.class_weight) * self.pixel_loss(pixels)).sum()",
        "self.pixel_loss(pixels).sum()",
        LOSSES,
    ),
    Fault(
        "class weight dropped",
        "losses/pixel_mean.py",
        "(pixels.weight(self.class_weight) *",
        "(pixels.weight(None) *",
        LOSSES,
    ),
    Fault(
        "one channel divided by as two",
        "losses/pixel_mean.py",
        "total / (pixels.channels if",
        "total / (pixels.num_classes if",
        LOSSES,
    ),
    Fault(
        "divisor all counts channels", "losses/pixel_mean.py", "pixels.labels.numel()", "pixels.logits.numel()", LOSSES
    ),
    Fault(
        "divisor kept counts all valid pixels",
        "losses/pixel_mean.py",
        "pixels.counted.sum()",
        "pixels.valid.sum()",
        LOSSES,
    ),
    Fault(
        "divisor valid counts kept pixels", "losses/pixel_mean.py", "pixels.valid.sum()", "pixels.counted.sum()", LOSSES
    ),
    Fault(
        "divisor class_weight without weights",
        "losses/pixel_mean.py",
        "return pixels.weight(self.class_weight).sum()",
        "return pixels.weight(None).sum()",
        LOSSES,
    ),
    Fault(
        "avg_non_ignore turned round",
        "losses/pixel_mean.py",
        '"valid" if self.avg_non_ignore else "all"',
        '"all" if self.avg_non_ignore else "valid"',
        LOSSES,
    ),
    Fault("nothing divided by nothing", "losses/loss.py", "torch.where(divisor > 0, divisor, 1.0)", "divisor", LOSSES),
    Fault(
        "loss_weight dropped by a loss alone",
        "losses/loss.py",
        "return self.loss_weight * self.finish(",
        "return self.finish(",
        LOSSES,
    ),
    Fault("images without a counted pixel counted", "losses/loss.py", "> 0).sum()", ">= 0).sum()", LOSSES),
    # Focal loss.
    Fault(
        "focal fades the wrong pixels",
        "losses/focal.py",
        "wrong = -(-surprise).expm1()",
        "wrong = (-surprise).exp()",
        LOSSES,
    ),
    Fault(
        "focal weighs what is not the class by alpha",
        "losses/focal.py",
        "(1 - by_channel) * (1 - target)",
        "by_channel * (1 - target)",
        LOSSES,
    ),
    Fault(
        "focal softmax without alpha",
        "losses/focal.py",
        "return loss * pixels.logits.new_tensor(alpha)[pixels.target]",
        "return loss",
        LOSSES,
    ),
    Fault(
        "focal slope without a bound",
        "losses/focal.py",
        "wrong.clamp(min=torch.finfo(wrong.dtype).tiny) **",
        "wrong **",
        LOSSES,
    ),
    Fault(
        "focal exponent off by one", "losses/focal.py", "** gamma * surprise\n", "** (gamma + 1) * surprise\n", LOSSES
    ),
    # Dice, Tversky, and what overlaps share.
    Fault("ignored class left in overlaps", "losses/overlap.py", " if channel != pixels.ignored_class]", "]", LOSSES),
    Fault("overlap summed over classes", "losses/overlap.py", ".mean(1).sum()", ".sum(1).sum()", LOSSES),
    Fault(
        "overlap sums averaged over images",
        "losses/overlap.py",
        "sums.sum(1, keepdim=True)",
        "sums.mean(1, keepdim=True)",
        LOSSES,
    ),
    Fault(
        "overlap never takes sigmoids",
        "losses/overlap.py",
        "(use_sigmoid=self.use_sigmoid)",
        "(use_sigmoid=False)",
        LOSSES,
    ),
    Fault(
        "avg_non_ignore of overlaps always on",
        "losses/overlap.py",
        "counted=self.avg_non_ignore)",
        "counted=True)",
        LOSSES,
    ),
    Fault("Dice loses its factor two", "losses/dice.py", "(2 * both + self.smooth)", "(both + self.smooth)", LOSSES),
    Fault("Dice smooth fixed at one", "losses/dice.py", "(2 * both + self.smooth)", "(2 * both + 1)", LOSSES),
    Fault("Dice exponent fixed at two", "losses/dice.py", "probabilities**self.exponent", "probabilities**2", LOSSES),
    Fault(
        "Dice denominator without mask",
        "losses/dice.py",
        "(weight * (probabilities**self.exponent + one_hot))",
        "(probabilities**self.exponent + one_hot)",
        LOSSES,
    ),
    Fault(
        "Tversky prices swapped",
        "losses/tversky.py",
        "self.alpha * false_positive + self.beta * false_negative",
        "self.beta * false_positive + self.alpha * false_negative",
        LOSSES,
    ),
    Fault(
        "Tversky false positives without mask",
        "losses/tversky.py",
        "(weight * probabilities * (1 - one_hot))",
        "(probabilities * (1 - one_hot))",
        LOSSES,
    ),
    Fault(
        "Tversky false negatives all missed",
        "losses/tversky.py",
        "(weight * (1 - probabilities) * one_hot)",
        "(weight * one_hot)",
        LOSSES,
    ),
    # Lovász losses.
    Fault("Lovász sorts the easy first", "losses/lovasz.py", "descending=True", "descending=False", LOSSES),
    Fault(
        "Lovász union counts the class twice",
        "losses/lovasz.py",
        "(weights - positive).cumsum(2)",
        "weights.cumsum(2)",
        LOSSES,
    ),
    Fault(
        "Lovász averages over absent classes",
        "losses/lovasz.py",
        "return present.clone()",
        "return torch.ones_like(present)",
        LOSSES,
    ),
    Fault(
        "Lovász keeps the ignored class",
        "losses/lovasz.py",
        "pixels.ignored_class] = False",
        "pixels.ignored_class] = True",
        LOSSES,
    ),
    Fault(
        "Lovász hinge sign",
        "losses/lovasz.py",
        "(1 - pixels.logits[:, 0] * sign)",
        "(1 + pixels.logits[:, 0] * sign)",
        LOSSES,
    ),
    Fault(
        "Lovász empty union as a whole mistake",
        "losses/lovasz.py",
        "jaccard = torch.where(union > 0, jaccard, 0.0)",
        "jaccard = 1.0 * jaccard",
        LOSSES,
    ),
    Fault(
        "Lovász by image averages over counted images only",
        "losses/lovasz.py",
        "counted=self.avg_non_ignore)",
        "counted=True)",
        LOSSES,
    ),
    # OHEM.
    Fault(
        "OHEM keeps what is at thresh",
        "losses/ohem.py",
        "torch.nextafter(losses.new_tensor(-math.log(thresh)), limit)",
        "losses.new_tensor(-math.log(thresh))",
        OHEM,
    ),
    Fault("OHEM min_kept not times images", "losses/ohem.py", "min_kept * images", "min_kept * (images > 0)", OHEM),
    Fault(
        "OHEM keeps void",
        "losses/ohem.py",
        "return valid & (losses.detach() >= hardness_limit(",
        "return (losses.detach() >= hardness_limit(",
        OHEM,
    ),
    Fault("OHEM takes the stricter limit", "losses/ohem.py", "torch.minimum(limit", "torch.maximum(limit", OHEM),
    Fault("k-th greatest off by one", "losses/ohem.py", "from_top >= left", "from_top > left", OHEM),
    Fault(
        "k-th greatest forgets how many are left",
        "losses/ohem.py",
        "left - (from_top[digit] - counts[digit])",
        "left - from_top[digit]",
        OHEM,
    ),
    Fault(
        "k-th greatest keeps greater digits in the race",
        "losses/ohem.py",
        "(digits == digit)",
        "(digits >= digit)",
        OHEM,
    ),
    Fault(
        "k-th greatest without its last digit",
        "losses/ohem.py",
        "range(0, width - 1, DIGIT_BITS)",
        "range(DIGIT_BITS, width - 1, DIGIT_BITS)",
        OHEM,
    ),
    Fault("k-th greatest takes minus zero for the greatest", "losses/ohem.py", "(values + 0.0)", "values", OHEM),
    Fault(
        "k-th greatest among void too",
        "losses/ohem.py",
        "rest = chosen.flatten()",
        "rest = torch.ones_like(chosen.flatten())",
        OHEM,
    ),
    Fault("pixels at the limit drop", "losses/criterion.py", "(surprise >= limit)", "(surprise > limit)", OHEM),
    Fault(
        "sampler never sees sigmoids",
        "losses/criterion.py",
        "pixels.surprise(use_sigmoid=self.use_sigmoid)",
        "pixels.surprise(use_sigmoid=False)",
        OHEM,
    ),
    Fault(
        "criterion's choice without mask",
        "losses/criterion.py",
        "kept=pixels.valid & (surprise",
        "kept=(surprise",
        OHEM,
        equivalent="`Pixels.counted` masks void once more, and nothing else reads `kept`",
    ),
    # Class weights.
    Fault("ENet's constant", "losses/class_weight.py", "torch.log(1.02 + share)", "torch.log(1.2 + share)", OHEM),
    Fault(
        "median frequency over all images",
        "losses/class_weight.py",
        "/ image_pixels.double()[present]",
        "/ total",
        OHEM,
    ),
    Fault("effective number sign", "losses/class_weight.py", "torch.log1p(-1 / total)", "torch.log1p(1 / total)", OHEM),
    Fault(
        "class weights average one over classes, not pixels",
        "losses/class_weight.py",
        "(share * weight).sum()",
        "weight.mean()",
        OHEM,
    ),
    # Pixels.
    Fault("sampler dropped from the pixel weight", "losses/pixels.py", "self.counted.to(", "self.valid.to(", LOSSES),
    Fault(
        "void in the one-hot",
        "losses/pixels.py",
        "((self.labels[:, None] == classes) & self.valid[:, None])",
        "(self.labels[:, None] == classes)",
        LOSSES,
        equivalent="the pixel weight or the ignored class masks it wherever a loss sums",
    ),
    Fault("one channel means class 0", "losses/pixels.py", "(self.labels == 1)", "(self.labels == 0)", LOSSES),
    Fault(
        "class 0 is never the ignored class",
        "losses/pixels.py",
        "0 <= self.ignore_index",
        "0 < self.ignore_index",
        LOSSES,
    ),
    Fault("sign of one channel's surprise", "losses/pixels.py", "self.target * 2 - 1", "1 - self.target * 2", LOSSES),
    Fault(
        "sign of a sigmoid's surprise",
        "losses/pixels.py",
        "F.softplus(-self.logits.gather(",
        "F.softplus(self.logits.gather(",
        LOSSES,
    ),
    Fault(
        "void has a surprise",
        "losses/pixels.py",
        "return torch.where(self.valid, surprise, 0.0)",
        "return surprise",
        LOSSES,
    ),
    Fault(
        "one channel predicts class 1 below zero",
        "losses/pixels.py",
        "(logits[:, 0] > 0)",
        "(logits[:, 0] < 0)",
        LOSSES,
    ),
    Fault(
        "void counts as right", "losses/pixels.py", "return self.valid & (predictions", "return (predictions", LOSSES
    ),
    # Criterion.
    Fault(
        "weight of the head dropped",
        "losses/criterion.py",
        "self.weight * loss.loss_weight * loss.finish",
        "loss.loss_weight * loss.finish",
        LOSSES,
    ),
    Fault(
        "terms that are watched get a gradient",
        "losses/criterion.py",
        "torch.is_grad_enabled() and name.startswith(TRAINED)",
        "torch.is_grad_enabled()",
        LOSSES,
    ),
    Fault(
        "half precision stays",
        "losses/criterion.py",
        "logits.to(torch.promote_types(logits.dtype, torch.float32))",
        "logits.to(logits.dtype)",
        LOSSES,
    ),
    Fault("align_corners dropped", "losses/criterion.py", "align_corners=align_corners", "align_corners=False", LOSSES),
    Fault(
        "watched terms in the loss", "losses/criterion.py", 'if name.split(".", 1)[1].startswith(TRAINED)]', "]", LOSSES
    ),
    Fault(
        "kept share of a class out of all valid pixels",
        "losses/criterion.py",
        'kept / totals["", "valid_by_class"]',
        "kept / valid",
        LOSSES,
    ),
    Fault("threshold told in nats", "losses/criterion.py", "torch.exp(-pixels.limit)", "pixels.limit", LOSSES),
    # Whole steps and ranks.
    Fault("buffers not restored", "losses/whole_step.py", "buffer.copy_(kept)", "pass", WHOLE_STEP),
    Fault(
        "random numbers not repeated",
        "losses/whole_step.py",
        "set_random_state(image.device, self._random[self._next])",
        "pass",
        WHOLE_STEP,
    ),
    Fault(
        "gradients given out backwards",
        "losses/whole_step.py",
        "torch.split(gradient, sizes)",
        "torch.split(gradient, sizes)[::-1]",
        WHOLE_STEP,
    ),
    Fault(
        "divisor of the last micro-batch",
        "losses/whole_step.py",
        "own[key] + value if key in own else value",
        "value",
        WHOLE_STEP,
    ),
    Fault(
        "divisor of each micro-batch",
        "losses/whole_step.py",
        "self.criterion.totals(pixels) | self.divisors",
        "self.divisors | self.criterion.totals(pixels)",
        WHOLE_STEP,
    ),
    Fault(
        "terms of the last micro-batch",
        "losses/whole_step.py",
        "self.terms.get(name, torch.zeros_like(value)) + value.detach()",
        "value.detach()",
        WHOLE_STEP,
    ),
    Fault(
        "weights that autocast keeps",
        "losses/whole_step.py",
        "torch.clear_autocast_cache()",
        "pass",
        WHOLE_STEP,
        equivalent="torch 2.14.1 keeps no converted weight from a pass without a graph; earlier releases do",
    ),
    Fault(
        "gradients in half precision",
        "losses/whole_step.py",
        "logits.to(torch.promote_types(logits.dtype, torch.float32)).requires_grad_()",
        "logits.requires_grad_()",
        WHOLE_STEP,
    ),
    Fault(
        "valid pixels of all heads",
        "losses/criterion.py",
        "= pixels.valid.sum().to(dtype)",
        "= pixels.labels.new_tensor(pixels.labels.numel()).to(dtype)",
        WHOLE_STEP,
    ),
    Fault(
        "sampler's step taken for known divisors",
        "losses/criterion.py",
        "head.sampler is None and all(",
        "all(",
        WHOLE_STEP,
    ),
    Fault("ranks not summed", "losses/ranks.py", "distributed.all_reduce(packed)", "pass", RANKS),
    Fault(
        "divisors of one rank",
        "losses/whole_step.py",
        "zip(own, ranks.summed(list(own.values())), strict=True)",
        "zip(own, own.values(), strict=True)",
        RANKS,
    ),
    Fault("gradient of the other ranks lost", "losses/criterion.py", "own + (total - own.detach())", "total", RANKS),
    # MMSegmentation's arithmetic.
    Fault(
        "compat: sampler not heard by cross-entropy",
        "losses/mmseg.py",
        "per_pixel = per_pixel * weight\n",
        "pass\n",
        COMPAT,
    ),
    Fault(
        "compat: void left out of the sum of weights",
        "losses/mmseg.py",
        "counted = torch.ones_like(pixels.valid)",
        "counted = pixels.valid",
        COMPAT,
    ),
    Fault(
        "compat: Dice masks nothing",
        "losses/mmseg.py",
        "(probability * target * valid)",
        "(probability * target)",
        COMPAT,
    ),
    Fault(
        "compat: void is class 0",
        "losses/mmseg.py",
        "labels = pixels.labels.clamp(0, pixels.channels - 1)",
        "labels = pixels.target.clamp(0, pixels.channels - 1)",
        COMPAT,
    ),
    Fault(
        "compat: classes that are counted",
        "losses/mmseg.py",
        ".sum(1).mean() / pixels.channels",
        ".sum(1).mean() / len(classes)",
        COMPAT,
    ),
    Fault(
        "compat: focal keeps void",
        "losses/mmseg.py",
        "(terms_ * pixels.valid[:, None]).mean()",
        "terms_.mean()",
        COMPAT,
    ),
    Fault(
        "compat: ties at the limit stay",
        "losses/mmseg.py",
        "probability < limit.clamp",
        "probability <= limit.clamp",
        COMPAT,
    ),
    Fault(
        "compat: limit off by one",
        "losses/mmseg.py",
        "min(kept, ordered.numel() - 1)",
        "min(kept + 1, ordered.numel() - 1)",
        COMPAT,
    ),
    Fault(
        "compat: Dice 1.2 takes void for the last class",
        "losses/mmseg.py",
        "_clamped_one_hot(pixels) * (pixels.labels < pixels.channels)[:, None]",
        "_clamped_one_hot(pixels)",
        COMPAT,
    ),
    Fault(
        "compat: sigmoids not averaged over channels",
        "losses/mmseg.py",
        "* pixels.channels + EPSILON",
        "+ EPSILON",
        COMPAT,
    ),
    # Parameter groups.
    Fault("shortest key wins", "optim/parameter_groups.py", "(-len(key), key)", "(len(key), key)", GROUPS),
    Fault(
        "ties of keys by their order",
        "optim/parameter_groups.py",
        "key=lambda key: (-len(key), key)",
        "key=lambda key: -len(key)",
        GROUPS,
    ),
    Fault(
        "layer-wise decay from the wrong end",
        "optim/parameter_groups.py",
        "layer_decay ** (last - depth)",
        "layer_decay**depth",
        GROUPS + LAYERS,
    ),
    Fault(
        "layer-wise decay only told",
        "optim/parameter_groups.py",
        "lr * decision.lr_mult * scale",
        "lr * decision.lr_mult",
        GROUPS + LAYERS,
    ),
    Fault(
        "decay_mult dropped", "optim/parameter_groups.py", "weight_decay * decision.decay_mult", "weight_decay", GROUPS
    ),
    Fault(
        "bias_lr_mult takes norms",
        "optim/parameter_groups.py",
        "parameter.is_bias and not parameter.is_norm and",
        "parameter.is_bias and",
        GROUPS,
    ),
    Fault(
        "one input channel never depthwise",
        "optim/parameter_groups.py",
        "(module.groups > 1 or compat is not None)",
        "module.groups > 1",
        GROUPS,
    ),
    Fault(
        "frozen parameters in groups",
        "optim/parameter_groups.py",
        "if not tensor.requires_grad:",
        "if tensor is None:",
        GROUPS,
    ),
    Fault(
        "mmcv's rules in another order",
        "optim/parameter_groups.py",
        '("norm", "dwconv", "bias")',
        '("norm", "bias", "dwconv")',
        GROUPS,
    ),
    Fault("flat takes matrices", "optim/parameter_groups.py", "tensor.ndim == 1", "tensor.ndim <= 2", GROUPS),
    Fault("decoder upside down", "optim/layer_depths.py", "return 2, -number, 0", "return 2, number, 0", LAYERS),
    Fault("blocks by their remainder", "optim/layer_depths.py", "block // blocks", "block % blocks", LAYERS),
    Fault(
        "ConvNeXt's stem as a stage",
        "optim/layer_depths.py",
        "(0, 0, 0) if number == 0 else (1, number, 0)",
        "(1, number, 0)",
        LAYERS,
    ),
    # Schedules.
    Fault(
        "warm-up a step ahead",
        "optim/schedule.py",
        "ratio + (1 - ratio) * step / steps",
        "ratio + (1 - ratio) * (step + 1) / steps",
        SCHEDULES,
    ),
    Fault(
        "exponential warm-up backwards",
        "optim/schedule.py",
        "ratio ** (1 - step / steps)",
        "ratio ** (step / steps)",
        SCHEDULES,
    ),
    Fault(
        "floor not warmed up",
        "optim/schedule.py",
        "return self.warmup_factor(step) * (1 - self.decay(step))",
        "return 1 - self.decay(step)",
        SCHEDULES,
    ),
    Fault("hold_steps dropped", "optim/schedule.py", "total_steps - hold_steps\n", "total_steps\n", SCHEDULES),
    Fault(
        "MMEngine's warm-up a step longer",
        "optim/schedule.py",
        "self.warmup_steps - 1 if self.compat",
        "self.warmup_steps if self.compat",
        SCHEDULES,
    ),
    Fault(
        "mmcv's decay from the warm-up's end",
        "optim/schedule.py",
        'decay_from == "start" or compat == "mmseg-0.25"',
        'decay_from == "start"',
        SCHEDULES,
    ),
    Fault(
        "one floor for all groups",
        "optim/schedule.py",
        'compat is not None and floor != "relative"',
        'floor != "relative"',
        SCHEDULES,
    ),
    Fault(
        "chained floor forgets",
        "optim/schedule.py",
        "shares[-1] * self.warmup_factor(step)",
        "self.warmup_factor(step)",
        SCHEDULES,
    ),
    Fault(
        "resumed a step later",
        "optim/schedule.py",
        'self.last_epoch = state_dict["last_epoch"]',
        'self.last_epoch = state_dict["last_epoch"] + 1',
        SCHEDULES,
    ),
    Fault("MMEngine's poly a step longer", "optim/schedules.py", "self._end - 1 if", "self._end if", SCHEDULES),
    Fault("poly's power inverted", "optim/schedules.py", "** self.power)", "** (1 / self.power))", SCHEDULES),
    Fault("cosine sign", "optim/schedules.py", "(1 + math.cos(", "(1 - math.cos(", SCHEDULES),
    Fault("milestones a step late", "optim/schedules.py", "step >= drop", "step > drop", SCHEDULES),
    Fault(
        "milestones never from the warm-up's end",
        "optim/schedules.py",
        "begin = warmup_steps if compat",
        "begin = 0 if compat",
        SCHEDULES,
    ),
    Fault("progress over the whole run", "optim/schedules.py", "/ (end - begin)", "/ end", SCHEDULES),
    # Scores.
    Fault(
        "matrix transposed in scores",
        "metrics.py",
        "counts.sum(1), counts.sum(0)",
        "counts.sum(0), counts.sum(1)",
        SCORES,
    ),
    Fault(
        "matrix transposed by image",
        "metrics.py",
        "truth * num_classes + prediction",
        "prediction * num_classes + truth",
        SCORES,
    ),
    Fault("ignored row kept for class 0", "metrics.py", "[:, :num_classes]", "[:, 1:]", SCORES),
    Fault("absent classes score zero", "metrics.py", "miou=iou.nanmean()", "miou=iou.nan_to_num().mean()", SCORES),
    Fault(
        "union counts the overlap twice",
        "metrics.py",
        "(labelled + predicted - right)",
        "(labelled + predicted)",
        SCORES,
    ),
    Fault("Dice score loses its factor two", "metrics.py", "dice = 2 * right", "dice = right", SCORES),
    Fault("fwIoU weighted by predictions", "metrics.py", "(labelled * iou)", "(predicted * iou)", SCORES),
    Fault("precision is recall", "metrics.py", "precision=right / predicted", "precision=right / labelled", SCORES),
    Fault("one image counted for each batch", "metrics.py", "self.images += len(numbers)", "self.images += 1", SCORES),
    Fault("place in the batch for place in the data", "metrics.py", "places[image]", "image", SCORES),
    Fault("rows in the order of devices", "metrics.py", "rows[rows[:, 0].argsort(stable=True)]", "rows", SCORES),
    Fault(
        "areas of labels by prediction",
        "metrics.py",
        "((image, truth), pixels",
        "((image, prediction), pixels",
        SCORES + BOOTSTRAP,
    ),
    Fault("a class too many let in", "metrics.py", "high >= num_classes", "high > num_classes", SCORES),
    Fault(
        "accuracy out of the predictions",
        "metrics.py",
        "(right.sum() / labelled.sum())",
        "(right.sum() / predicted.sum())",
        SCORES,
        equivalent="every counted pixel has one label and one prediction, so both sums are all counts",
    ),
    Fault(
        "bootstrap's union counts the overlap twice",
        "bootstrap.py",
        "(labelled + predicted - right)",
        "(labelled + predicted)",
        BOOTSTRAP,
    ),
    Fault("interval cuts off one end twice", "bootstrap.py", "[(1 - LEVEL) / 2,", "[(1 - LEVEL),", BOOTSTRAP),
    Fault(
        "boundary distance off by one",
        "boundary.py",
        "(2 * distance + 1, 2 * distance + 1)",
        "(2 * distance - 1, 2 * distance - 1)",
        BOUNDARY,
    ),
    Fault("void near boundaries", "boundary.py", "    near &= ~void\n", "", BOUNDARY),
    Fault("boundaries agree whatever the class", "boundary.py", " & (label == prediction)", "", BOUNDARY),
)
