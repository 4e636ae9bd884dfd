"""Any network of the timm library as a backbone."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from seglit.features import FeatureSpec


class TimmBackbone(nn.Module):
    """The feature maps of a timm model (https://huggingface.co/docs/timm), by its name.

    timm is optional: `pip install 'seglit[timm]'`; its `list_models` lists the names. Which image sizes work
    is the model's own affair: convolutional nets mostly take any, transformers often only theirs unless
    `options` says otherwise. Pretrained weights want the mean and std that
    `timm.data.resolve_model_data_config` gives.

    Args:
        name: The model, such as `resnet50d` or `convnext_tiny.fb_in22k`.
        pretrained: Whether timm downloads and loads its weights; otherwise they are drawn as timm does.
        output_stride: Stride of the deepest map, for models that can dilate; None leaves the model as it is.
        out_indices: Which maps to take, in increasing order; None takes all.
        options: Further arguments of `timm.create_model`, such as `{"drop_path_rate": 0.1}`.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If there is no such model, or it does not take these arguments.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        output_stride: int | None = None,
        out_indices: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise ImportError("TimmBackbone needs timm, which is optional: pip install 'seglit[timm]'") from error

        if not timm.is_model(name):
            near = get_close_matches(name, timm.list_models(), n=3)
            raise ValueError(f"timm has no model {name!r}" + (f"; nearest: {', '.join(near)}" if near else ""))
        arguments = dict(options or {})
        if output_stride is not None:
            arguments["output_stride"] = output_stride
        if out_indices is not None:
            # timm would return the maps in its own order but describe them in the one asked for.
            if not out_indices or any(before >= after for before, after in pairwise(out_indices)):
                raise ValueError(f"out_indices must be increasing and not empty, got {list(out_indices)}")
            arguments["out_indices"] = tuple(out_indices)
        try:
            model = timm.create_model(name, pretrained=pretrained, features_only=True, **arguments)
        except (TypeError, AssertionError, IndexError) as error:
            raise ValueError(
                f"timm's {name} cannot be built with {arguments}: {type(error).__name__} {error}; "
                f"change or leave out what this model does not take"
            ) from error
        info: Any = model.feature_info
        self.feature_specs = tuple(map(FeatureSpec, info.channels(), info.reduction()))
        # Only timm's generic wrappers have this attribute; its purpose-built extractors give channels first.
        self._channels_last = getattr(model, "output_fmt", None) == "NHWC"
        self.model = model

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The chosen maps, highest resolution first, as `feature_specs` describes them."""
        features = self.model(image)
        if self._channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return tuple(features)
