"""The build options of trtexec, each beside the hint that says the same: the reader and the writer share the rows.

Options: NVIDIA/TensorRT samples/common/sampleOptions.cpp, releases 10.16 and 11.1 (`BuildOptions::parse` and
`SystemOptions::parse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

LAST = 99
"""Of an option that no release has dropped."""


class Form(Enum):
    """What the value of an option looks like."""

    TEXT = "text"
    NUMBER = "a whole number"
    SWITCH = "nothing"
    ITEMS = "item,item"
    PAIRS = "name:value,name:value"
    REPEATED = "one value, the option several times"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option.

    Attributes:
        key: of the hint.
        name: of the option.
        form: of its value.
        aliases: other names of the option, older ones among them.
        last: the last release that has it.
        known: values (of items and pairs: items, names) that release 11 knows; empty = any.
    """

    key: str
    name: str
    form: Form
    aliases: tuple[str, ...] = ()
    last: int = LAST
    known: frozenset[str] = frozenset()


def _known(*words: str) -> frozenset[str]:
    return frozenset(words)


_TACTICS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
_PREVIEWS = ("aliasedPluginIO1003", "runtimeActivationResize")

FLAGS: tuple[Flag, ...] = (
    Flag(
        key="memory_pools", name="--memPoolSize", form=Form.PAIRS,
        known=_known("workspace", "dlaSRAM", "dlaLocalDRAM", "dlaGlobalDRAM", "tacticSharedMem"),
    ),
    Flag(key="optimization_level", name="--builderOptimizationLevel", form=Form.NUMBER),
    Flag(
        key="hardware_compatibility", name="--hardwareCompatibilityLevel", form=Form.TEXT,
        known=_known("none", "ampere+", "samecomputecapability"),
    ),
    Flag(
        key="runtime_platform", name="--runtimePlatform", form=Form.TEXT,
        known=_known("sameasbuild", "windowsamd64"),
    ),
    Flag(key="version_compatible", name="--versionCompatible", form=Form.SWITCH, aliases=("--vc",)),
    Flag(key="exclude_lean_runtime", name="--excludeLeanRuntime", form=Form.SWITCH),
    Flag(
        key="sparsity", name="--sparsity", form=Form.TEXT,
        known=_known("disable", "enable", "force"),
    ),
    Flag(key="refit", name="--refit", form=Form.SWITCH),
    Flag(
        key="strip_weights", name="--stripWeights", form=Form.SWITCH, aliases=("--weightless",)
    ),
    Flag(key="strip_all_weights", name="--stripAllWeights", form=Form.SWITCH),
    Flag(key="no_tf32", name="--noTF32", form=Form.SWITCH),
    Flag(key="input_formats", name="--inputIOFormats", form=Form.ITEMS),
    Flag(key="output_formats", name="--outputIOFormats", form=Form.ITEMS),
    Flag(key="layer_device_types", name="--layerDeviceTypes", form=Form.PAIRS),
    Flag(key="dla_core", name="--useDLACore", form=Form.NUMBER),
    Flag(key="allow_gpu_fallback", name="--allowGPUFallback", form=Form.SWITCH),
    Flag(key="adjust_for_dla", name="--adjustForDLA", form=Form.SWITCH),
    Flag(key="dla_standalone", name="--buildDLAStandalone", form=Form.SWITCH),
    Flag(
        key="uint8_asymmetric_dla", name="--uint8AsymmetricQuantizationDLA", form=Form.SWITCH
    ),
    Flag(
        key="tactic_sources", name="--tacticSources", form=Form.ITEMS,
        known=_known(*(sign + name for name in _TACTICS for sign in "+-")),
    ),
    Flag(
        key="preview_features", name="--preview", form=Form.ITEMS,
        known=_known(*(sign + name for name in _PREVIEWS for sign in "+-")),
    ),
    Flag(
        key="profiling_verbosity", name="--profilingVerbosity", form=Form.TEXT,
        known=_known("layer_names_only", "detailed", "none"),
    ),
    Flag(key="timing_cache", name="--timingCacheFile", form=Form.TEXT),
    Flag(key="no_timing_cache", name="--noBuilderCache", form=Form.SWITCH),
    Flag(key="no_compilation_cache", name="--noCompilationCache", form=Form.SWITCH),
    Flag(
        key="error_on_timing_cache_miss", name="--errorOnTimingCacheMiss", form=Form.SWITCH
    ),
    Flag(key="average_timing", name="--avgTiming", form=Form.NUMBER),
    Flag(key="max_tactics", name="--maxTactics", form=Form.NUMBER),
    Flag(key="max_aux_streams", name="--maxAuxStreams", form=Form.NUMBER),
    Flag(
        key="tiling_optimization_level", name="--tilingOptimizationLevel", form=Form.NUMBER
    ),
    Flag(key="l2_limit_for_tiling", name="--l2LimitForTiling", form=Form.NUMBER),
    Flag(
        key="plugin_instance_norm", name="--pluginInstanceNorm", form=Form.SWITCH,
        aliases=("--pi",),
    ),
    Flag(key="plugin_override", name="--enablePluginOverride", form=Form.SWITCH),
    Flag(key="decomposable_attentions", name="--decomposableAttentions", form=Form.ITEMS),
    Flag(
        key="distributive_independence", name="--distributiveIndependence", form=Form.SWITCH
    ),
    Flag(key="weight_streaming", name="--allowWeightStreaming", form=Form.SWITCH),
    Flag(
        key="static_plugins", name="--staticPlugins", form=Form.REPEATED, aliases=("--plugins",)
    ),
    Flag(key="dynamic_plugins", name="--dynamicPlugins", form=Form.REPEATED),
    Flag(key="plugins_to_serialize", name="--setPluginsToSerialize", form=Form.REPEATED),
    Flag(key="strongly_typed", name="--stronglyTyped", form=Form.SWITCH),
    # What weakly typed networks alone have an ear for.
    Flag(key="layer_precisions", name="--layerPrecisions", form=Form.PAIRS, last=10),
    Flag(key="layer_output_types", name="--layerOutputTypes", form=Form.PAIRS, last=10),
    Flag(key="precision_constraints", name="--precisionConstraints", form=Form.TEXT, last=10),
    Flag(key="calibration_file", name="--calib", form=Form.TEXT, last=10),
    Flag(key="calibration_profile", name="--calibProfile", form=Form.NUMBER, last=10),
    Flag(key="restricted", name="--restricted", form=Form.SWITCH, last=10),
)  # fmt: skip

BY_KEY: Mapping[str, Flag] = {flag.key: flag for flag in FLAGS}
BY_NAME: Mapping[str, Flag] = {name: f for f in FLAGS for name in (f.name, *f.aliases)}

PRECISIONS = "precisions"
"""Hint with what weakly typed networks may compute with beside float32; each is a switch of its own."""

PRECISION_SWITCHES = ("--fp16", "--bf16", "--int8", "--fp8", "--int4", "--best")

TYPES = frozenset(
    {"fp32", "fp16", "bf16", "fp8", "int4", "int8", "int32", "int64", "uint8", "bool"}
)
"""Types of layers and their results (`stringToValue<nvinfer1::DataType>`)."""
