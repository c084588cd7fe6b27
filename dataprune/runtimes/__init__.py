"""Engines that serve the features of a frozen network: it is written as ONNX, and they run it.

`signals.runtime=onnxruntime | openvino | deepsparse`, or a user's own class by `_target_`; see `runtime.Runtime`.
"""
