"""Parameter groups, layer decay and schedules against numbers of the real MMSegmentation.

The numbers are in `golden/optim_groups.json` and `golden/optim_schedules.json`, made from the larger files by
`python tests/test_optim_golden.py`; a test asserts that they still agree where those files are.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seglit.optim import CosineLR, MultiStepLR, PolyLR, Schedule, parameter_groups

HERE = Path(__file__).resolve().parent / "golden"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"


def compact_groups() -> dict[str, Any]:
    """Names once per net; per name a case has an index into its pairs [lr, weight decay], -1 for no group."""
    new = json.loads((SHARED / "param_groups_122.json").read_text())["cases"]
    old = json.loads((SHARED / "param_groups_025.json").read_text())["cases"]
    nets: dict[str, list[str]] = {}
    cases = {}
    for case, content in new.items():
        if "rows" not in content:
            cases[case] = {key: content[key] for key in ("paramwise_cfg", "error") if key in content}
            continue
        shared = [name.split("|") for name in content["rows"] if "|" in name]
        rows = {name.split("|")[0]: (row[0], row[1]) for name, row in content["rows"].items()}
        net = "/".join(case.split("/")[:2]) if case.startswith("layer_decay") else case.split("/")[0]
        names = nets.setdefault(net, list(rows))
        pairs = sorted(set(rows.values()))
        cases[case] = {
            "net": net,
            "optimizer": content["optimizer"],
            "paramwise_cfg": content["paramwise_cfg"],
            "pairs": pairs,
            "rows": [pairs.index(rows[name]) if name in rows else -1 for name in names],
            "shared": shared,
        }
    return {"nets": nets, "mmseg-1.2": cases, "mmseg-0.25": old}


def compact_schedules() -> dict[str, Any]:
    result = {}
    for version, file in {"mmseg-1.2": "lr_122.json", "mmseg-0.25": "lr_025.json"}.items():
        schedules = json.loads((SHARED / file).read_text())["schedules"]
        unused = {"note", "group_lr_mult", "worst_rel_difference_to_122"}
        result[version] = {
            name: {key: value for key, value in schedule.items() if key not in unused}
            for name, schedule in schedules.items()
        }
    return result


@pytest.mark.skipif(not SHARED.is_dir(), reason="the complete golden files are not on this machine")
def test_copies_agree_with_the_complete_files() -> None:
    assert json.loads(json.dumps(compact_groups())) == GROUPS
    assert json.loads(json.dumps(compact_schedules())) == SCHEDULES


@pytest.mark.skipif(not SHARED.is_dir(), reason="the complete golden files are not on this machine")
@pytest.mark.parametrize("net", ["pspnet_r50", "unet_s5_d16_fcn"])
def test_kinds_told_by_names_are_those_of_the_state_dict(net: str) -> None:
    shapes = json.loads((SHARED / "state_dict_keys.json").read_text())[net]["state_dict"]
    modules = {name.rpartition(".")[0] for name in GROUPS["nets"][net]}
    assert {module for module in modules if is_norm(module)} == {
        name.rpartition(".")[0] for name in shapes if name.endswith("running_mean")
    }
    depthwise = {name for name, shape in shapes.items() if len(shape) == 4 and shape[1] == 1 < shape[0]}
    assert {module for module in modules if is_depthwise(net, module)} == depthwise == set()


def is_norm(module: str) -> bool:
    """Whether MMSegmentation has a norm there."""
    return bool(
        re.search(r"\.(norm|bn|ln)\d?$|_norm$", module)
        or re.search(r"backbone\.stem\.[147]$|\.downsample\.1$", module)  # ResNet-v1c
        or re.search(r"^backbone\.layers\.\d\.2$", module)  # MiT: patch embedding, blocks, norm
        or re.search(r"downsample_layers\.(0\.1|[123]\.0)$", module)  # ConvNeXt
        or re.search(r"^neck\.upsample_4x\.1$", module)  # Feature2Pyramid
    )


def is_depthwise(net: str, module: str) -> bool:
    """Whether MMSegmentation has a depthwise convolution there."""
    return bool(
        # MobileNetV2: expansion (none in the first block), depthwise, projection.
        (net == "fcn_mobilenetv2" and re.search(r"layer1\.0\.conv\.0\.conv$|layer[2-7]\.\d\.conv\.1\.conv$", module))
        or (net == "segformer_b0" and re.search(r"^backbone.*\.ffn\.layers\.1$", module))  # MixFFN
        or re.search(r"\.depthwise_conv$", module)
    )


def stub(net: str, names: list[str]) -> nn.Module:
    """A net of tiny modules with these parameters, of the kinds that the rules ask for."""
    leaves: dict[str, list[str]] = {}
    for name in names:
        path, _, leaf = name.rpartition(".")
        leaves.setdefault(path, []).append(leaf)
    root = nn.Module()
    for path in sorted(leaves, key=lambda path: path.count(".")):
        own = leaves[path]
        module: nn.Module
        if is_norm(path):
            module = nn.LayerNorm(2)
        elif is_depthwise(net, path):
            module = nn.Conv2d(2, 2, 1, groups=2, bias="bias" in own)
        elif set(own) <= {"weight", "bias"}:
            module = nn.Conv2d(2, 2, 1, bias="bias" in own)
        else:
            module = nn.Module()
            for leaf in own:
                flat = leaf.startswith("gamma") or leaf == "in_proj_bias"
                module.register_parameter(leaf, nn.Parameter(torch.zeros((2,) if flat else (1, 2))))
        assert [leaf for leaf, _ in module.named_parameters()] == own or set(own) > {"weight"}
        *parents, last = path.split(".")
        parent = root
        for word in parents:
            if word not in dict(parent.named_children()):
                parent.add_module(word, nn.Module())
            parent = parent.get_submodule(word)
        parent.add_module(last, module)
    assert {name for name, _ in root.named_parameters()} == set(names)
    return root


GROUPS = json.loads((HERE / "optim_groups.json").read_text()) if (HERE / "optim_groups.json").is_file() else {}
SCHEDULES = json.loads((HERE / "optim_schedules.json").read_text()) if (HERE / "optim_schedules.json").is_file() else {}

LEFT_OUT = {
    "pspnet_r50/force_default/SGD": "force_default_settings: custom keys on top of the rules",
    "layer_decay/segmenter_vit_t": "theirs raises NotImplementedError",
}
IDLE = {
    "pspnet_r50/equal_length_tie/SGD": ["custom_keys.bacon"],
    "pspnet_r50/dwconv/SGD": ["dwconv_decay_mult"],
    "pspnet_r50/custom_beats_rules/SGD": ["bias_lr_mult", "bias_decay_mult"],
    "unet_s5_d16_fcn/custom_beats_rules/SGD": ["bias_lr_mult", "bias_decay_mult"],
    "segformer_b0/segformer/AdamW": ["custom_keys.pos_block"],
    "upernet_swin_t/swin/AdamW": ["custom_keys.absolute_pos_embed"],
    "bad/key_matches_nothing": ["custom_keys.headd"],
    "bad/no_wd_custom_decay_mult": ["custom_keys.head.decay_mult"],
}
"""Options that have no effect in these cases: we refuse them, and agree on the rest."""


def arguments(case: str, content: dict[str, Any]) -> dict[str, Any]:
    options = dict(content["paramwise_cfg"] or {})
    options.pop("bypass_duplicate", None)
    if case.startswith("layer_decay"):
        # Theirs never decays what is flat or a bias.
        blocks = 3 if options.pop("decay_type", None) == "layer_wise" else None
        rate = options.get("decay_rate") or options["layer_decay_rate"]
        rules = dict.fromkeys(("norm_decay_mult", "bias_decay_mult", "flat_decay_mult"), 0.0)
        return {"layer_decay": rate, "layer_decay_blocks": blocks, **rules}
    return options


def drop(options: dict[str, Any], idle: str) -> dict[str, Any]:
    if not idle.startswith("custom_keys."):
        return {key: value for key, value in options.items() if key != idle}
    keys = {key: value for key, value in options["custom_keys"].items() if key != idle.split(".")[1]}
    return {**options, "custom_keys": keys}


def rates(net: nn.Module, lr: float, weight_decay: float, options: dict[str, Any]) -> dict[str, tuple[float, float]]:
    names = {parameter: name for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, lr, weight_decay, **options)
    found = [
        (names[parameter], (group["lr"], group["weight_decay"])) for group in groups for parameter in group["params"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


EXPRESSED = [case for case in GROUPS.get("mmseg-1.2", {}) if case not in LEFT_OUT and not case.startswith("bad/")]


@pytest.mark.parametrize("case", EXPRESSED)
def test_groups_of_mmseg_1_2(case: str) -> None:
    content = GROUPS["mmseg-1.2"][case]
    names = GROUPS["nets"][content["net"]]
    net = stub(content["net"], names)
    for first, second in content["shared"]:
        net.get_submodule(second.rpartition(".")[0]).bias = net.get_parameter(first)
    if "/frozen/" in case:
        for name, row in zip(names, content["rows"], strict=True):
            net.get_parameter(name).requires_grad_(row >= 0)
    optimizer, options = content["optimizer"], arguments(case, content)
    for idle in IDLE.get(case, []):
        with pytest.raises(ValueError, match=rf"{re.escape(idle)} has no effect"):
            parameter_groups(net, optimizer["lr"], optimizer["weight_decay"], **options)
        options = drop(options, idle)
    expected = {
        name: tuple(content["pairs"][row]) for name, row in zip(names, content["rows"], strict=True) if row >= 0
    }
    for compat in (None, "mmseg-1.2"):
        found = rates(net, optimizer["lr"], optimizer["weight_decay"], {**options, "compat": compat})
        assert {name: pytest.approx(pair, rel=1e-12, abs=0) for name, pair in found.items()} == expected


def test_bad_cases_are_refused() -> None:
    bad = [case for case in GROUPS["mmseg-1.2"] if case.startswith("bad/")]
    assert len(bad) == 2
    net = stub("pspnet_r50", GROUPS["nets"]["pspnet_r50"])
    for case in bad:
        weight_decay = 0.0005 if case == "bad/key_matches_nothing" else None
        with pytest.raises(ValueError, match=re.escape(IDLE[case][0])):
            parameter_groups(net, 0.01, weight_decay, **GROUPS["mmseg-1.2"][case]["paramwise_cfg"])


def test_how_many_cases_are_compared() -> None:
    assert set(LEFT_OUT) < set(GROUPS["mmseg-1.2"])
    assert len(GROUPS["mmseg-1.2"]) == 28
    assert len(EXPRESSED) == 24
    rows = [row for case in EXPRESSED for row in GROUPS["mmseg-1.2"][case]["rows"]]
    assert sum(row >= 0 for row in rows) == 4194


RULES = {
    "head10": {"custom_keys": {"head": {"lr_mult": 10.0}}},
    "norm_decay0": {"norm_decay_mult": 0.0},
    "bias_and_norm": {"bias_lr_mult": 2.0, "bias_decay_mult": 0.5, "norm_decay_mult": 0.1},
    "dwconv_bias_norm": {"dwconv_decay_mult": 0.25, "bias_decay_mult": 0.5, "norm_decay_mult": 0.0},
    "dwconv": {"dwconv_decay_mult": 0.25},
    "segformer": {"custom_keys": {"norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}},
    "flat": {"flat_decay_mult": 0.0},
    # Read off the differences, which do not tell norm_decay_mult.
    "flat_norm_bias_dw": {
        "flat_decay_mult": 0.3, "norm_decay_mult": 0.1, "bias_decay_mult": 0.2, "dwconv_decay_mult": 0.25
    },
}  # fmt: skip
"""What the names of the 0.25 cases stand for; the file with the differences does not repeat it."""
LEFT_OUT_025 = {
    "overlap": "the options are not on record",
    "extra_option": "further items of custom keys are refused",
    "duplicate_no_bypass": "shared parameters are in one group always",
}
EXPRESSED_025 = [case for case in GROUPS.get("mmseg-0.25", {}) if case.split("/")[1] not in LEFT_OUT_025]


@pytest.mark.parametrize("case", EXPRESSED_025)
def test_differences_between_mmseg_0_25_and_1_2(case: str) -> None:
    model, rule, kind = case.split("/")
    lr, weight_decay = {"SGD": (0.01, 0.0005), "AdamW": (6e-5, 0.01)}[kind]
    net = stub(model, GROUPS["nets"][model])
    options = RULES[rule]
    if model == "pspnet_r50":
        options = drop(options, "dwconv_decay_mult")
    if rule == "flat_norm_bias_dw" and model != "segformer_b0":
        options = drop(options, "flat_decay_mult")
    new = rates(net, lr, weight_decay, {**options, "compat": "mmseg-1.2"})
    if "flat_decay_mult" in options:
        with pytest.raises(ValueError, match=r"flat_decay_mult has no effect with compat='mmseg-0\.25'"):
            parameter_groups(net, lr, weight_decay, **options, compat="mmseg-0.25")
    old = rates(net, lr, weight_decay, {**drop(options, "flat_decay_mult"), "compat": "mmseg-0.25"})

    golden = GROUPS["mmseg-0.25"][case]["differs_from_122"]
    for name, (before, after) in golden.items():
        assert old[name] == pytest.approx(before, rel=1e-12, abs=0)
        assert new[name] == pytest.approx(after, rel=1e-12, abs=0)
    differing = {name for name in old if old[name] != new[name]}
    # Of many differences the record names forty.
    assert differing >= set(golden)
    assert len(differing) == GROUPS["mmseg-0.25"][case]["n_differs"]


def test_how_many_old_cases_are_compared() -> None:
    assert len(GROUPS["mmseg-0.25"]) == 18
    assert len(EXPRESSED_025) == 14
    assert Counter(case.split("/")[1] for case in EXPRESSED_025)["flat_norm_bias_dw"] == 3


MULTIPLES = (1.0, 10.0, 0.1)


def optimizer_with_three_groups(base: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": base * multiple} for multiple in MULTIPLES]
    return torch.optim.SGD(groups, lr=base)


def new_schedule(golden: dict[str, Any]) -> Schedule:
    """MMEngine's list of schedulers as one of ours."""
    optimizer, total = optimizer_with_three_groups(golden["base_lr"]), golden["max_iters"]
    schedulers = {entry["type"]: entry for entry in golden["schedulers"]}
    options: dict[str, Any] = {"compat": "mmseg-1.2"}
    warmup = schedulers.pop("LinearLR", None)
    if warmup is not None:
        options |= {"warmup_steps": warmup["end"], "warmup_ratio": warmup["start_factor"]}
    if "ConstantLR" in schedulers:
        assert schedulers.pop("ConstantLR")["factor"] == 1
    ((kind, main),) = schedulers.items()
    if warmup is not None and main["begin"] == 0:
        options["decay_from"] = "start"
    if kind == "MultiStepLR":
        return MultiStepLR(optimizer, total, milestones=main["milestones"], **options)
    options["hold_steps"] = total - main["end"]
    if kind == "PolyLRRatio":
        options |= {"min_lr_ratio": main["eta_min_ratio"], "floor": "relative"}
    else:
        options["min_lr_ratio"] = main["eta_min"] / golden["base_lr"]
    if kind == "CosineAnnealingLR":
        return CosineLR(optimizer, total, **options)
    return PolyLR(optimizer, total, power=main["power"], **options)


def old_schedule(golden: dict[str, Any]) -> Schedule:
    """An mmcv 1.x `lr_config` as a schedule of ours."""
    config = dict(golden["lr_config"])
    assert config["policy"] == "poly"
    options = {}
    if "warmup" in config:
        options = {"warmup": config["warmup"], "warmup_ratio": config["warmup_ratio"]}
        options["warmup_steps"] = config["warmup_iters"]
    return PolyLR(
        optimizer_with_three_groups(golden["base_lr"]),
        golden["max_iters"],
        power=config["power"],
        min_lr_ratio=config["min_lr"] / golden["base_lr"],
        compat="mmseg-0.25",
        **options,
    )


SCHEDULE_CASES = [(version, name) for version, schedules in SCHEDULES.items() for name in schedules]


@pytest.mark.parametrize(("version", "name"), SCHEDULE_CASES)
def test_rates_of_mmseg(version: str, name: str) -> None:
    """At each recorded step, reached by resuming one step before."""
    golden = SCHEDULES[version][name]
    schedule = new_schedule(golden) if version == "mmseg-1.2" else old_schedule(golden)
    rows = list(golden["rows"])
    if "after_last" in golden and name != "cosine_40k":
        # MMEngine leaves the last value standing; a cosine would go on to its floor.
        rows.append([golden["max_iters"], *golden["after_last"]])
    for step, *expected in rows:
        if step:
            schedule.load_state_dict({**schedule.state_dict(), "last_epoch": step - 1})
            schedule.optimizer.step()
            schedule.step()
        found = [group["lr"] for group in schedule.optimizer.param_groups]
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-24), step


def test_rates_of_mmseg_step_by_step() -> None:
    golden = SCHEDULES["mmseg-1.2"]["vpd_25k"]
    schedule = new_schedule(golden)
    expected = {step: lrs for step, *lrs in golden["rows"]}
    for step in range(golden["max_iters"]):
        if step in expected:
            found = [group["lr"] for group in schedule.optimizer.param_groups]
            assert found == pytest.approx(expected[step], rel=1e-9, abs=0)
        schedule.optimizer.step()
        schedule.step()


def test_how_many_schedules_are_compared() -> None:
    assert {version: len(schedules) for version, schedules in SCHEDULES.items()} == {
        "mmseg-1.2": 13,
        "mmseg-0.25": 6,
    }
    assert sum(len(SCHEDULES[version][name]["rows"]) for version, name in SCHEDULE_CASES) == 1124


if __name__ == "__main__":
    for file, content in {"optim_groups": compact_groups(), "optim_schedules": compact_schedules()}.items():
        (HERE / f"{file}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
