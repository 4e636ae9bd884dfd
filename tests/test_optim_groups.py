"""Which parameter gets which learning rate and decay, and what is refused."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from reference.optim import multipliers
from seglit.config import conf_dir
from seglit.optim import Schedule, describe_groups, optimizer_defaults, parameter_groups

CONF = conf_dir() / "model"
LR, DECAY = 0.5, 0.25


class Block(nn.Module):
    """A norm, a depthwise and a plain convolution, and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.depthwise = nn.Conv2d(2, 2, 1, groups=2)
        self.norm = nn.BatchNorm2d(2)
        self.scale = nn.Parameter(torch.ones(2))


class Net(nn.Module):
    """Has whatever the rules ask for: `multihead` hides a "head" in the backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"stem": Block(), "layer1": Block(), "multihead": nn.Linear(2, 2)})
        self.decode_head = nn.ModuleDict({"norm": nn.GroupNorm(1, 2), "classifier": nn.Conv2d(2, 3, 1)})
        self.auxiliary_heads = nn.ModuleDict({"aux": nn.ModuleDict({"classifier": nn.Conv2d(2, 3, 1)})})


def found(net: nn.Module, **options: Any) -> dict[str, tuple[float, float, str]]:
    """Learning rate, decay and group of each parameter, which must be in exactly one group."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, LR, DECAY, **options)
    assert len({group["name"] for group in groups}) == len(groups)
    rows = [
        (names[parameter], (group["lr"], group["weight_decay"], group["name"]))
        for group in groups
        for parameter in group["params"]
    ]
    trainable = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert sorted(name for name, _ in rows) == sorted(trainable)
    return dict(rows)


def test_without_options_there_is_one_group() -> None:
    (group,) = parameter_groups(Net(), LR, DECAY)
    assert {key: group[key] for key in ("name", "rule", "lr", "weight_decay")} == {
        "name": "base",
        "rule": "no rule",
        "lr": LR,
        "weight_decay": DECAY,
    }


def test_a_key_is_a_substring() -> None:
    rows = found(Net(), custom_keys={"head": {"lr_mult": 10.0}})
    assert {name for name, row in rows.items() if row == (10 * LR, DECAY, "head")} == {
        name for name in rows if "head" in name
    }
    assert rows["backbone.multihead.weight"][2] == "head"
    assert rows["backbone.stem.conv.weight"] == (LR, DECAY, "base")


def test_the_longest_key_wins_then_the_first_in_the_alphabet() -> None:
    keys = {"conv": {"lr_mult": 3.0}, "stem": {"lr_mult": 2.0}, "stem.norm": {"lr_mult": 5.0}}
    rows = found(Net(), custom_keys=keys)
    assert rows["backbone.stem.conv.weight"][2] == "conv"
    assert rows["backbone.stem.scale"][2] == "stem"
    assert rows["backbone.stem.norm.bias"][2] == "stem.norm"


def test_a_key_exempts_from_all_rules() -> None:
    rows = found(Net(), custom_keys={"head": {"lr_mult": 10.0}}, norm_decay_mult=0.0, bias_lr_mult=2.0)
    assert rows["decode_head.norm.weight"] == (10 * LR, DECAY, "head")
    assert rows["decode_head.classifier.bias"] == (10 * LR, DECAY, "head")
    assert rows["backbone.stem.norm.weight"] == (LR, 0.0, "norm")
    assert rows["backbone.stem.conv.bias"] == (2 * LR, DECAY, "bias")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"norm_decay_mult": 0.5}, {"norm": ["norm.weight", "norm.bias"]}),
        ({"bias_decay_mult": 0.5}, {"bias": ["conv.bias", "depthwise.bias", "norm.bias"]}),
        ({"dwconv_decay_mult": 0.5}, {"dwconv": ["depthwise.weight", "depthwise.bias"]}),
        (
            {"flat_decay_mult": 0.5},
            {"flat": ["conv.bias", "depthwise.bias", "norm.weight", "norm.bias", "scale"]},
        ),
        (
            {
                "norm_decay_mult": 0.5,
                "bias_decay_mult": 0.5,
                "dwconv_decay_mult": 0.5,
                "flat_decay_mult": 0.5,
            },
            {
                "norm": ["norm.weight", "norm.bias"],
                "bias": ["conv.bias", "depthwise.bias"],
                "dwconv": ["depthwise.weight"],
                "flat": ["scale"],
            },
        ),
        (
            {
                "norm_decay_mult": 0.5,
                "bias_decay_mult": 0.5,
                "dwconv_decay_mult": 0.5,
                "compat": "mmseg-0.25",
            },
            {
                "norm": ["norm.weight", "norm.bias"],
                "bias": ["conv.bias"],
                "dwconv": ["depthwise.weight", "depthwise.bias"],
            },
        ),
        ({"bias_decay_mult": 0.5, "compat": "mmseg-0.25"}, {"bias": ["conv.bias"]}),
    ],
)
def test_which_parameters_of_a_block_each_rule_takes(options: dict, names: dict[str, list[str]]) -> None:
    rows = found(Block(), **options)
    for group, members in names.items():
        assert sorted(name for name, row in rows.items() if row[2] == group) == sorted(members)
        assert all(rows[name][:2] == (LR, DECAY / 2) for name in members)
    taken = {name for members in names.values() for name in members}
    assert all(row == (LR, DECAY, "base") for name, row in rows.items() if name not in taken)


def test_bias_lr_mult_leaves_norms_alone() -> None:
    rows = found(Block(), bias_lr_mult=2.0)
    assert {name for name, row in rows.items() if row[0] == 2 * LR} == {"conv.bias", "depthwise.bias"}


def test_names_tell_rules_apart_that_share_a_kind() -> None:
    rows = found(Block(), bias_lr_mult=2.0, bias_decay_mult=0.5)
    assert rows["conv.bias"] == (2 * LR, DECAY / 2, "bias")
    assert rows["norm.bias"] == (LR, DECAY / 2, "bias_decay")
    rows = found(Block(), bias_lr_mult=2.0, bias_decay_mult=0.5, compat="mmseg-0.25")
    assert rows["depthwise.bias"] == (2 * LR, DECAY, "bias_lr")
    rows = found(Block(), bias_lr_mult=2.0, flat_decay_mult=0.5)
    assert rows["conv.bias"] == (2 * LR, DECAY / 2, "bias-flat")
    rows = found(Block(), custom_keys={"norm": {"lr_mult": 2.0}}, flat_decay_mult=0.5)
    assert {row[2] for row in rows.values()} == {"norm", "flat", "base"}
    rows = found(
        Net(),
        custom_keys={"stem.norm": {"lr_mult": 2.0}, "norm": {"lr_mult": 3.0}, "scale": {"lr_mult": 0.0}},
    )
    assert rows["backbone.stem.scale"] == (0.0, DECAY, "scale")
    net = nn.ModuleDict({"norm_1": nn.Linear(1, 1), "x": nn.BatchNorm2d(1)})
    rows = found(net, custom_keys={"norm": {"lr_mult": 2.0}}, norm_decay_mult=0.0)
    assert (rows["norm_1.weight"][2], rows["x.weight"][2]) == ("norm", "norm-rule")


def test_only_compat_takes_a_single_channel_for_depthwise() -> None:
    net = nn.ModuleDict({"one": nn.Conv2d(1, 4, 1), "two": nn.Conv2d(2, 2, 1, groups=2)})
    assert found(net, dwconv_decay_mult=0.0)["one.weight"][2] == "base"
    assert found(net, dwconv_decay_mult=0.0, compat="mmseg-1.2")["one.weight"][2] == "dwconv"


MULTIPLIER = st.sampled_from([0.0, 0.5, 2.0])
KEYS = st.dictionaries(
    st.sampled_from(["head", "stem", "layer1", "norm", "bias", "conv", "stem.norm", "scale", "back", "classifier"]),
    st.fixed_dictionaries({"lr_mult": MULTIPLIER}, optional={"decay_mult": MULTIPLIER}),
    max_size=4,
)
KINDS = st.dictionaries(
    st.sampled_from(["norm_decay_mult", "bias_lr_mult", "bias_decay_mult", "dwconv_decay_mult", "flat_decay_mult"]),
    MULTIPLIER,
)


@given(custom_keys=KEYS, rules=KINDS, old=st.booleans())
def test_equals_the_reference_or_refuses_a_key_that_takes_nothing(
    custom_keys: dict[str, dict[str, float]], rules: dict[str, float], old: bool
) -> None:
    if old:
        rules.pop("flat_decay_mult", None)
    net = Net()
    net.backbone["stem"].requires_grad_(False)
    expected = multipliers(net, custom_keys, rules, old)
    idle = set(custom_keys) - {key for _, _, key in expected.values()}
    compat = "mmseg-0.25" if old else None
    try:
        rows = found(net, custom_keys=custom_keys, compat=compat, **rules)
    except ValueError as error:
        option, _, rest = str(error).partition(" ")
        refused, reason = option.removeprefix("custom_keys."), rest
    else:
        refused, reason = "", ""
    if idle:
        assert refused in idle
        return
    without_effect = {rule for rule in rules if multipliers(net, custom_keys, {**rules, rule: 0.125}, old) == expected}
    if refused:
        assert refused in without_effect
        assert reason.startswith("has no effect: no trainable parameter goes by it")
        return
    assert not without_effect
    assert {name: row[:2] for name, row in rows.items()} == {
        name: (LR * lr_mult, DECAY * decay_mult) for name, (lr_mult, decay_mult, _) in expected.items()
    }


def test_frozen_parameters_are_in_no_group_and_shared_ones_in_the_first_names() -> None:
    net = Net()
    net.backbone["stem"].requires_grad_(False)
    net.auxiliary_heads["aux"]["classifier"].weight = net.decode_head["classifier"].weight
    rows = found(net, custom_keys={"decode": {"lr_mult": 2.0}, "aux": {"lr_mult": 3.0}})
    assert not any("stem" in name for name in rows)
    assert rows["decode_head.classifier.weight"][2] == "decode"
    assert "auxiliary_heads.aux.classifier.weight" not in rows


def test_an_optimizer_without_weight_decay_gets_none() -> None:
    groups = parameter_groups(Net(), LR, None, custom_keys={"head": {"lr_mult": 2.0}})
    assert all("weight_decay" not in group for group in groups)
    assert {description["weight_decay"] for description in describe_groups(Net(), [])} == set()
    net = Net()
    groups = parameter_groups(net, LR, None)
    assert describe_groups(net, groups)[0]["weight_decay"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"custom_keys": {"haed": {"lr_mult": 2.0}}},
            r"custom_keys\.haed .*contains 'haed'; nearest: .*head",
        ),
        ({"custom_keys": {"zzz": {"lr_mult": 2.0}}}, r"nearest: backbone, decode_head, auxiliary_heads"),
        ({"custom_keys": {"": {"lr_mult": 2.0}}}, r"empty key"),
        ({"custom_keys": {"head": {"lr_mul": 2.0}}}, r"custom_keys\.head\.lr_mul: .*did you mean lr_mult"),
        ({"custom_keys": {"head": {"wd_mult": 0.0}}}, r"there are lr_mult and decay_mult"),
        ({"custom_keys": {"head": {"momentum": 0.5}}}, r"there are lr_mult and decay_mult"),
        (
            {"custom_keys": {"head": {"lr_mult": 1.0}}},
            r"custom_keys\.head has no effect: its multipliers are 1",
        ),
        ({"custom_keys": {"head": {}}}, r"custom_keys\.head has no effect: its multipliers are 1"),
        (
            {"custom_keys": {"head": {"lr_mult": -1.0}}},
            r"custom_keys\.head\.lr_mult must be a number, zero or more",
        ),
        ({"custom_keys": {"head": {"lr_mult": float("nan")}}}, r"must be a number, zero or more, got nan"),
        (
            {"custom_keys": {"aux": {"lr_mult": 2.0}, "auxiliary": {"lr_mult": 3.0}}},
            r"custom_keys\.aux has no effect: the keys auxiliary take all",
        ),
        ({"custom_keys": {"stem": {"lr_mult": 2.0}}}, r"custom_keys\.stem has no effect: .*frozen"),
        ({"norm_decay_mult": -0.5}, r"norm_decay_mult must be a number"),
        ({"norm_decay_mult": True}, r"norm_decay_mult must be a number"),
        ({"norm_decay_mult": 1.0}, r"norm_decay_mult has no effect: its multipliers are 1"),
        ({"bias_lr_mult": 1}, r"bias_lr_mult has no effect: its multipliers are 1"),
        (
            {
                "norm_decay_mult": 0.0,
                "flat_decay_mult": 0.0,
                "custom_keys": {"bias": {}, "scale": {"lr_mult": 2.0}},
            },
            r"flat_decay_mult has no effect: no trainable",
        ),
        ({"flat_decay_mult": 0.0, "compat": "mmseg-0.25"}, r"flat_decay_mult has no effect with compat"),
        ({"compat": "mmseg-2"}, r"compat must be one of None, mmseg-0\.25, mmseg-1\.2, got 'mmseg-2'"),
        ({"layer_decay": 1.0}, r"layer_decay must be between 0 and 1"),
        ({"layer_decay_blocks": 2}, r"layer_decay_blocks=2 has no effect without layer_decay"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    net = Net()
    net.backbone["stem"].requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        parameter_groups(net, LR, DECAY, **options)


@pytest.mark.parametrize("weight_decay", [None, 0.0])
@pytest.mark.parametrize(
    "options",
    [{"norm_decay_mult": 0.0}, {"flat_decay_mult": 1.0}, {"custom_keys": {"head": {"decay_mult": 0.0}}}],
)
def test_decay_multipliers_need_a_decay(weight_decay: float | None, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"decay_mult=.* has no effect, as the optimizer's weight_decay is"):
        parameter_groups(Net(), LR, weight_decay, **options)


def test_base_values_must_be_numbers_from_zero_up() -> None:
    with pytest.raises(ValueError, match="lr must be a number"):
        parameter_groups(Net(), -0.1, DECAY)
    with pytest.raises(ValueError, match="weight_decay must be a number"):
        parameter_groups(Net(), LR, -0.1)


def test_a_net_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(Net().requires_grad_(False), LR, DECAY)


def test_a_multiplier_of_one_may_shield() -> None:
    """From a shorter key, and from rules, both by a key and, for biases of norms, by `norm_decay_mult`."""
    rows = found(Net(), custom_keys={"head": {"lr_mult": 10.0}, "multihead": {"lr_mult": 1.0}})
    assert rows["backbone.multihead.weight"] == (LR, DECAY, "multihead")
    rows = found(Net(), custom_keys={"head": {}}, norm_decay_mult=0.0)
    assert rows["decode_head.norm.weight"] == (LR, DECAY, "head")
    rows = found(Net(), norm_decay_mult=1.0, bias_decay_mult=0.0)
    assert rows["backbone.stem.norm.bias"] == (LR, DECAY, "norm")


def test_layer_decay_multiplies_with_keys_and_rules() -> None:
    """Layers are stem, layer1 and heads, so two thirds squared, two thirds and one."""
    net = Net()
    del net.backbone["multihead"]
    rate = 2 / 3
    options = {"custom_keys": {"stem.conv": {"lr_mult": 10.0}, "head": {"lr_mult": 5.0}}, "bias_lr_mult": 2.0}
    rows = found(net, layer_decay=rate, **options)
    assert rows["backbone.stem.conv.weight"] == (pytest.approx(10 * LR * rate**2), DECAY, "stem.conv-layer0")
    assert rows["backbone.stem.depthwise.bias"] == (pytest.approx(2 * LR * rate**2), DECAY, "bias-layer0")
    assert rows["backbone.layer1.scale"] == (pytest.approx(LR * rate), DECAY, "base-layer1")
    assert rows["decode_head.classifier.weight"] == (5 * LR, DECAY, "head")
    plain = found(net, **options)
    assert all(rows[name][1] == row[1] and rows[name][2].split("-")[0] == row[2] for name, row in plain.items())


def test_the_description_tells_modules_and_counts() -> None:
    net = Net()
    groups = parameter_groups(net, LR, DECAY, custom_keys={"head": {"lr_mult": 10.0}}, norm_decay_mult=0.0)
    optimizer = torch.optim.SGD(groups, lr=LR)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.125)
    descriptions = {entry["name"]: entry for entry in describe_groups(net, optimizer.param_groups)}
    assert descriptions["head"] == {
        "name": "head",
        "rule": "custom_keys.head",
        "lr": 10 * LR,
        "weight_decay": DECAY,
        "tensors": 8,
        "parameters": 6 + 4 + 9 + 9,
        "modules": ["backbone.multihead", "decode_head", "auxiliary_heads"],
    }
    assert descriptions["norm"]["modules"] == ["backbone.stem.norm", "backbone.layer1.norm"]
    assert descriptions["norm"]["rule"] == "norm_decay_mult"
    total = sum(parameter.numel() for parameter in net.parameters())
    assert sum(entry["parameters"] for entry in descriptions.values()) == total


def test_many_modules_are_written_with_stars() -> None:
    net = nn.ModuleDict({f"layer{index}": Block() for index in range(9)})
    groups = parameter_groups(net, LR, DECAY, norm_decay_mult=0.0, layer_decay=None)
    base, norm = describe_groups(net, groups)
    assert norm["modules"] == ["layer*.norm"]
    assert base["modules"] == ["layer*.scale", "layer*.conv", "layer*.depthwise"]


def test_groups_survive_a_checkpoint() -> None:
    net = Net()
    optimizer = torch.optim.SGD(parameter_groups(net, LR, DECAY, bias_lr_mult=2.0), lr=LR)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert [group["name"] for group in state["param_groups"]] == ["base", "bias"]


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (partial(torch.optim.SGD, lr=0.1, weight_decay=0.3), (0.1, 0.3)),
        (partial(torch.optim.SGD, lr=torch.tensor(0.5)), (0.5, 0.0)),
        (torch.optim.AdamW, (1e-3, 1e-2)),
        (lambda params: torch.optim.Muon(params, lr=0.2), (0.2, 0.1)),
        (torch.optim.LBFGS, (1.0, None)),
    ],
)
def test_defaults_of_an_optimizer(factory: Any, expected: tuple[float, float | None]) -> None:
    assert optimizer_defaults(factory) == expected


def test_an_optimizer_without_learning_rate_is_refused() -> None:
    class Stubborn(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

    with pytest.raises(ValueError, match="Stubborn has no learning rate"):
        optimizer_defaults(Stubborn)


OPTIMIZERS = sorted((CONF / "optimizer").glob("*.yaml"))
SCHEDULERS = sorted((CONF / "scheduler").glob("*.yaml"))


@pytest.mark.parametrize("optimizer_file", OPTIMIZERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("scheduler_file", SCHEDULERS, ids=lambda path: path.stem)
def test_configs_make_optimizers_and_schedules(optimizer_file: Path, scheduler_file: Path) -> None:
    config = OmegaConf.create(
        {
            "trainer": {"max_steps": 20},
            "optimizer": OmegaConf.load(optimizer_file),
            "scheduler": OmegaConf.load(scheduler_file),
        }
    )
    factory = instantiate(config.optimizer, _convert_="all")
    net = Net()
    lr, weight_decay = optimizer_defaults(factory)
    optimizer = factory(parameter_groups(net, lr, weight_decay, custom_keys={"head": {"lr_mult": 10.0}}))
    schedule = instantiate(config.scheduler, _convert_="all")(optimizer)
    assert isinstance(schedule, Schedule)
    assert schedule.total_steps == 20
    assert lr > 0


def test_configs_are_found() -> None:
    assert {path.stem for path in OPTIMIZERS} >= {"sgd", "adam", "adamw"}
    assert {path.stem for path in SCHEDULERS} >= {"poly", "cosine", "step", "constant"}
