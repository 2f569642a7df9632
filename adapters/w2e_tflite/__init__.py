"""TensorFlow Lite: the files of LiteRT and LiteRT for Microcontrollers."""

from w2e_bridge.formats.spec import Format

FORMAT = Format(
    name="tflite",
    title="TensorFlow Lite (LiteRT)",
    suffixes=(".tflite",),
    magic=((4, b"TFL3"),),
    lift="w2e_tflite.read:lift",
    lower="w2e_tflite.write:lower",
    profiles="w2e_tflite.profiles:profiles",
    inspect="w2e_tflite.inspecting:inspect",
    docs="https://ai.google.dev/edge/litert",
)
