"""The libraries under comparison, each at its best: ``Peer(threads).forward(problem, x, w)`` gives what to time.

So do ``backprop_input(problem, w, dy)`` and ``backprop_filter(problem, x, dy)``, where a library has them. A prepared
call returns its result, in the library's own array type and layout; None says that the library cannot compute the
problem. ``dtypes`` are those that it is timed with.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

Call = Callable[[], object]


def explicit_pads(p) -> list[tuple[int, int]]:
    return [(0, 0), (p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right), (0, 0)]


def has_pads(p) -> bool:
    return any((p.pad_top, p.pad_bottom, p.pad_left, p.pad_right))


def same_pads(p) -> bool:
    """Whether the padding is what SAME gives."""
    import fastconv

    same = fastconv.output_shape(
        (p.n, p.h, p.w, p.c), (p.kh, p.kw, p.c // p.groups, p.f), (p.stride_h, p.stride_w), "SAME",
        dilations=(p.dilation_h, p.dilation_w),
    )  # fmt: skip
    total_h = max(0, (p.oh - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1 - p.h)
    total_w = max(0, (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1 - p.w)
    return same[1:3] == (p.oh, p.ow) and (p.pad_top, p.pad_left) == (total_h // 2, total_w // 2)


class Fastconv:
    """Plain NumPy arrays, filters unprepared, a new output each call."""

    dtypes = ("float32", "float64", "float16", "bfloat16", "int32")

    def __init__(self, threads: int) -> None:
        import fastconv

        self.nn = fastconv.nn
        fastconv.set_num_threads(threads)
        isa = fastconv.show_config("dicts")["Instruction sets"]["in use"]
        self.version = f"{fastconv.__version__} ({isa})"

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call:
        pads, strides, dilations = explicit_pads(p), (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)
        return lambda: self.nn.conv2d(x, w, strides, pads, dilations=dilations)

    def backprop_input(self, p, w: np.ndarray, dy: np.ndarray) -> Call:
        pads, strides, dilations = explicit_pads(p), (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)
        sizes = (p.n, p.h, p.w, p.c)
        return lambda: self.nn.conv2d_backprop_input(sizes, w, dy, strides, pads, dilations=dilations)

    def backprop_filter(self, p, x: np.ndarray, dy: np.ndarray) -> Call:
        pads, strides, dilations = explicit_pads(p), (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)
        sizes = (p.kh, p.kw, p.c // p.groups, p.f)
        return lambda: self.nn.conv2d_backprop_filter(x, sizes, dy, strides, pads, dilations=dilations)


class LiteRT:
    """XNNPACK behind the LiteRT interpreter: constant weights, packed once; output in the interpreter's arena."""

    dtypes = ("float32",)

    def __init__(self, threads: int) -> None:
        from importlib.metadata import version

        from ai_edge_litert import interpreter

        self.threads = threads
        self.interpreter = interpreter
        self.version = version("ai-edge-litert")

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call | None:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as s

        if p.groups == p.c > 1:
            w = w.reshape(1, p.kh, p.kw, p.f)
            operator, options_type = s.BuiltinOperator.DEPTHWISE_CONV_2D, s.BuiltinOptions.DepthwiseConv2DOptions
            options = s.DepthwiseConv2DOptionsT()
            options.depthMultiplier = p.f // p.c
        else:
            w = np.ascontiguousarray(w.transpose(3, 0, 1, 2))
            operator, options_type = s.BuiltinOperator.CONV_2D, s.BuiltinOptions.Conv2DOptions
            options = s.Conv2DOptionsT()
        options.strideH, options.strideW = p.stride_h, p.stride_w
        options.dilationHFactor, options.dilationWFactor = p.dilation_h, p.dilation_w
        options.padding = s.Padding.SAME if same_pads(p) else s.Padding.VALID
        if options.padding == s.Padding.VALID and has_pads(p):
            x = np.pad(x, explicit_pads(p))

        def tensor(name: str, shape: tuple[int, ...], buffer: int):
            t = s.TensorT()
            t.name, t.shape, t.buffer, t.type = name, list(shape), buffer, s.TensorType.FLOAT32
            return t

        def buffer(data: np.ndarray | None = None):
            b = s.BufferT()
            b.data = None if data is None else data.view(np.uint8).ravel()
            return b

        graph = s.SubGraphT()
        graph.tensors = [
            tensor("x", x.shape, 0),
            tensor("w", w.shape, 1),
            tensor("b", (p.f,), 2),
            tensor("y", (p.n, p.oh, p.ow, p.f), 0),
        ]
        op = s.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3]
        op.builtinOptionsType, op.builtinOptions = options_type, options
        graph.operators, graph.inputs, graph.outputs = [op], [0], [3]
        code = s.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = operator, operator, 2
        model = s.ModelT()
        model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
        model.buffers = [buffer(), buffer(w), buffer(np.zeros(p.f, np.float32))]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        runner = self.interpreter.Interpreter(model_content=bytes(builder.Output()), num_threads=self.threads)
        runner.allocate_tensors()
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        index = runner.get_output_details()[0]["index"]
        runner.invoke()
        fetch = runner.tensor(index)

        def call():
            runner.invoke()
            return fetch

        return call


class OnnxRuntime:
    """NCHW, constant weights, preallocated input and output through IO binding."""

    dtypes = ("float32",)

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.ort = onnxruntime
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.log_severity_level = 4
        self.version = onnxruntime.__version__

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call | None:
        from onnx import TensorProto, helper, numpy_helper

        weights = numpy_helper.from_array(np.ascontiguousarray(w.transpose(3, 2, 0, 1)), "w")
        node = helper.make_node(
            "Conv", ["x", "w"], ["y"], strides=[p.stride_h, p.stride_w], dilations=[p.dilation_h, p.dilation_w],
            group=p.groups, pads=[p.pad_top, p.pad_left, p.pad_bottom, p.pad_right],
        )  # fmt: skip
        graph = helper.make_graph(
            [node],
            "conv",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [p.n, p.c, p.h, p.w])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [p.n, p.f, p.oh, p.ow])],
            [weights],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        session = self.ort.InferenceSession(model.SerializeToString(), self.options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        self.held = np.ascontiguousarray(x.transpose(0, 3, 1, 2)), np.empty((p.n, p.f, p.oh, p.ow), np.float32)
        binding.bind_ortvalue_input("x", self.ort.OrtValue.ortvalue_from_numpy(self.held[0]))
        value = self.ort.OrtValue.ortvalue_from_numpy(self.held[1])
        binding.bind_ortvalue_output("y", value)

        def call():
            session.run_with_iobinding(binding)
            return value

        return call


class Torch:
    """channels_last, inference mode."""

    dtypes = ("float32", "float64")

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.version = torch.__version__

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call | None:
        torch = self.torch
        if (p.pad_top, p.pad_left) != (p.pad_bottom, p.pad_right):
            x = np.pad(x, explicit_pads(p))
            pads = (0, 0)
        else:
            pads = (p.pad_top, p.pad_left)
        image = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        weights = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))
        weights = weights.contiguous(memory_format=torch.channels_last)
        strides, dilations = (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)

        def call():
            with torch.inference_mode():
                return torch.nn.functional.conv2d(image, weights, None, strides, pads, dilations, p.groups)

        return call

    def gradient(self, p, x: np.ndarray, w: np.ndarray, dy: np.ndarray, which: int) -> Call | None:
        torch = self.torch
        if (p.pad_top, p.pad_left) != (p.pad_bottom, p.pad_right):
            x = np.pad(x, explicit_pads(p))  # the gradient of the padded input takes a little more work
            pads = (0, 0)
        else:
            pads = (p.pad_top, p.pad_left)

        def channels_last(array: np.ndarray, axes: tuple[int, ...]):
            tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(axes)))
            return tensor.contiguous(memory_format=torch.channels_last)

        image, output = channels_last(x, (0, 3, 1, 2)), channels_last(dy, (0, 3, 1, 2))
        weights = channels_last(w, (3, 2, 0, 1))
        strides, dilations = (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)
        mask = [which == 0, which == 1, False]
        backward = torch.ops.aten.convolution_backward

        def call():
            with torch.inference_mode():
                return backward(output, image, weights, None, strides, pads, dilations, False, [0, 0], p.groups, mask)[
                    which
                ]

        return call

    def backprop_input(self, p, w: np.ndarray, dy: np.ndarray) -> Call | None:
        return self.gradient(p, np.zeros((p.n, p.h, p.w, p.c), w.dtype), w, dy, 0)

    def backprop_filter(self, p, x: np.ndarray, dy: np.ndarray) -> Call | None:
        return self.gradient(p, x, np.zeros((p.kh, p.kw, p.c // p.groups, p.f), x.dtype), dy, 1)


class TensorFlow:
    """Eager, on TensorFlow's own tensors, in its default mode."""

    dtypes = ("float32", "float64", "float16", "bfloat16", "int32")

    def __init__(self, threads: int) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self.tf = tensorflow
        self.version = tensorflow.__version__

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call | None:
        tf = self.tf
        padding: object = "SAME" if same_pads(p) else explicit_pads(p) if has_pads(p) else "VALID"
        image, weights = tf.constant(x), tf.constant(w)
        strides, dilations = [1, p.stride_h, p.stride_w, 1], [p.dilation_h, p.dilation_w]
        if p.groups == p.c > 1 and p.stride_h == p.stride_w and (p.dilation_h == 1 or p.stride_h == 1):
            weights = tf.reshape(weights, (p.kh, p.kw, p.c, p.f // p.c))
            return lambda: tf.nn.depthwise_conv2d(image, weights, strides, padding, dilations=dilations)
        return lambda: tf.nn.conv2d(image, weights, strides, padding, dilations=dilations)

    def arguments(self, p) -> dict[str, object]:
        pads = [] if same_pads(p) or not has_pads(p) else [cells for pair in explicit_pads(p) for cells in pair]
        return {
            "strides": [1, p.stride_h, p.stride_w, 1],
            "dilations": [1, p.dilation_h, p.dilation_w, 1],
            "padding": "SAME" if same_pads(p) else "EXPLICIT" if pads else "VALID",
            "explicit_paddings": pads,
        }

    def backprop_input(self, p, w: np.ndarray, dy: np.ndarray) -> Call | None:
        tf = self.tf
        sizes, weights, output, arguments = (p.n, p.h, p.w, p.c), tf.constant(w), tf.constant(dy), self.arguments(p)
        if p.groups == p.c > 1:
            return self.depthwise("Input", p, input_sizes=sizes, filter=weights, out_backprop=output)
        operation = tf.raw_ops.Conv2DBackpropInput
        return lambda: operation(input_sizes=sizes, filter=weights, out_backprop=output, **arguments)

    def backprop_filter(self, p, x: np.ndarray, dy: np.ndarray) -> Call | None:
        tf = self.tf
        sizes = (p.kh, p.kw, p.c // p.groups, p.f)
        image, output, arguments = tf.constant(x), tf.constant(dy), self.arguments(p)
        if p.groups == p.c > 1:
            return self.depthwise("Filter", p, input=image, filter_sizes=sizes, out_backprop=output)
        operation = tf.raw_ops.Conv2DBackpropFilter
        return lambda: operation(input=image, filter_sizes=sizes, out_backprop=output, **arguments)

    def depthwise(self, which: str, p, **tensors) -> Call | None:
        tf, shape = self.tf, (p.kh, p.kw, p.c, p.f // p.c)
        if p.stride_h != p.stride_w or (p.dilation_h, p.dilation_w) != (1, 1):
            return None
        if which == "Input":
            tensors["filter"] = tf.reshape(tensors["filter"], shape)
        else:
            tensors["filter_sizes"] = shape
        operation = getattr(tf.raw_ops, f"DepthwiseConv2dNativeBackprop{which}")
        arguments = self.arguments(p)
        return lambda: operation(**tensors, **arguments)


class Jax:
    """Jitted, NHWC."""

    dtypes = ("float32", "float64")

    def __init__(self, threads: int) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)  # for float64; what is float32 stays float32
        self.jax = jax
        self.version = jax.__version__

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call | None:
        jax = self.jax
        function = jax.jit(self.convolution(p))
        image, weights = jax.numpy.asarray(x), jax.numpy.asarray(w)
        return lambda: function(image, weights).block_until_ready()

    def convolution(self, p):
        return lambda image, weights: self.jax.lax.conv_general_dilated(
            image,
            weights,
            (p.stride_h, p.stride_w),
            explicit_pads(p)[1:3],
            rhs_dilation=(p.dilation_h, p.dilation_w),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=p.groups,
        )

    def backprop_input(self, p, w: np.ndarray, dy: np.ndarray) -> Call | None:
        jax = self.jax
        weights, output = jax.numpy.asarray(w), jax.numpy.asarray(dy)
        image = jax.ShapeDtypeStruct((p.n, p.h, p.w, p.c), w.dtype)
        forward = self.convolution(p)
        function = jax.jit(lambda w, dy: jax.linear_transpose(lambda x: forward(x, w), image)(dy)[0])
        return lambda: function(weights, output).block_until_ready()

    def backprop_filter(self, p, x: np.ndarray, dy: np.ndarray) -> Call | None:
        jax = self.jax
        image, output = jax.numpy.asarray(x), jax.numpy.asarray(dy)
        weights = jax.ShapeDtypeStruct((p.kh, p.kw, p.c // p.groups, p.f), x.dtype)
        forward = self.convolution(p)
        function = jax.jit(lambda x, dy: jax.linear_transpose(lambda w: forward(x, w), weights)(dy)[0])
        return lambda: function(image, output).block_until_ready()


class OpenCV:
    """filter2D, for one image with one channel and one filter, at stride 1."""

    dtypes = ("float32", "float64")

    def __init__(self, threads: int) -> None:
        import cv2

        cv2.setNumThreads(threads)
        self.cv2 = cv2
        self.version = cv2.__version__

    def forward(self, p, x: np.ndarray, w: np.ndarray) -> Call | None:
        if (p.n, p.c, p.f, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w) != (1, 1, 1, 1, 1, 1, 1):
            return None
        if (p.oh, p.ow) != (p.h, p.w):
            return None
        cv2, image, kernel = self.cv2, x[0, :, :, 0], w[:, :, 0, 0]
        anchor = (p.pad_left, p.pad_top)
        return lambda: cv2.filter2D(image, -1, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT)


PEERS = {
    "fastconv": Fastconv,
    "litert": LiteRT,
    "ort": OnnxRuntime,
    "torch": Torch,
    "tf": TensorFlow,
    "jax": Jax,
    "cv2": OpenCV,
}
