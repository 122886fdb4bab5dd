"""Exported graphs against torch on a network with BatchNorm, and every fault that a written graph can have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from semise_export.graphs.onnx import OPSET, check_graph, export_graphs, graph_entry
from semise_sdk.bundle.manifest import TensorSpec
from semise_sdk.errors import ParityError
from semise_sdk.models.encoder import create_body, feature_dim, input_scaling
from semise_sdk.models.network import ClassifierGraph, EncoderGraph, EncoderOutputs, SemiSeNetwork
from semise_sdk.spec import InputSpec, NetworkConfig

SIZE = 64


@pytest.fixture(scope="module")
def network() -> SemiSeNetwork:
    """A ResNet-18 whose BatchNorm is far from the identity, with the paper's heads and no U-Net."""
    torch.manual_seed(5)
    body = create_body("resnet18")
    mean, std = input_scaling(body)
    config = NetworkConfig(
        encoder="resnet18",
        feature_dim=feature_dim(body),
        vector_dim=24,
        residual_head=False,
        reference_head="projection",
        mean=mean,
        std=std,
        classes=4,
        classifier_hidden=(16, 16),
    )
    network = SemiSeNetwork(config, body)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def exported(network: SemiSeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    assert export_graphs(network, InputSpec(height=SIZE, width=SIZE), folder) == ("encoder.onnx", "classifier.onnx")
    return folder


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_a_resnet_agrees_with_torch_at_every_batch_size(exported: Path, network: SemiSeNetwork, batch: int) -> None:
    pixels = torch.randint(0, 256, (batch, SIZE, SIZE, 3), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(exported / "encoder.onnx", providers=["CPUExecutionProvider"])
    found = session.run(list(EncoderOutputs._fields), {"pixels": pixels.numpy()})
    with torch.inference_mode():
        expected = EncoderGraph(network)(pixels)
    for name, one, other in zip(EncoderOutputs._fields, expected, found, strict=True):
        np.testing.assert_allclose(other, one.numpy(), rtol=1e-3, atol=1e-5 * float(one.abs().max()), err_msg=name)
    assert float((expected.severity_vector - expected.reference_vector).abs().max()) > 0.1


def test_the_classifier_agrees_with_torch(exported: Path, network: SemiSeNetwork) -> None:
    embedding = torch.randn(5, network.config.feature_dim)
    session = onnxruntime.InferenceSession(exported / "classifier.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"embedding": embedding.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, ClassifierGraph(network)(embedding).numpy(), atol=1e-5)


def test_the_manifest_learns_names_types_and_shapes(exported: Path) -> None:
    entry = graph_entry(exported / "encoder.onnx")
    assert (entry.file, entry.precision) == ("encoder.onnx", "fp32")
    assert entry.inputs == {"pixels": TensorSpec("uint8", ("batch", SIZE, SIZE, 3))}
    assert entry.outputs == {
        "embedding": TensorSpec("float32", ("batch", 512)),
        "severity_vector": TensorSpec("float32", ("batch", 24)),
        "reference_vector": TensorSpec("float32", ("batch", 24)),
        "severity_map_vectors": TensorSpec("float32", ("batch", 2, 2, 24)),
    }


def test_nothing_of_this_machine_is_in_a_graph(exported: Path) -> None:
    for path in exported.iterdir():
        content = path.read_bytes()
        for trace in (b".py", b"site-packages", b"semise_sdk/", str(Path.home()).encode()):
            assert trace not in content


def test_pooling_stays_pooling(exported: Path) -> None:
    # with channel-last strides the exporter spells the encoder's pooling as a Gather over computed indices
    used = {node.op_type for node in onnx.load(exported / "encoder.onnx").graph.node}
    assert used.isdisjoint({"Gather", "Range", "Shape"})


def test_the_same_weights_give_the_same_bytes(network: SemiSeNetwork, exported: Path, tmp_path: Path) -> None:
    plain = SemiSeNetwork(network.config)
    plain.load_state_dict(network.state_dict())
    plain.encoder = torch.nn.Identity()  # only the classifier is worth exporting twice in a test
    from semise_export.graphs import onnx as module

    example = ("embedding", torch.zeros((2, network.config.feature_dim)))
    module._export(ClassifierGraph(plain.eval()), example, ("logits",), tmp_path / "classifier.onnx")
    assert (tmp_path / "classifier.onnx").read_bytes() == (exported / "classifier.onnx").read_bytes()


def test_the_exporter_says_nothing(network: SemiSeNetwork, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from semise_export.graphs import onnx as module

    example = ("embedding", torch.zeros((2, network.config.feature_dim)))
    module._export(ClassifierGraph(network), example, ("logits",), tmp_path / "classifier.onnx")
    assert tuple(capfd.readouterr()) == ("", "")


def minimal_encoder() -> onnx.ModelProto:
    """Returns a hand-written encoder graph without fault: the mean colour under four names."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "places"], ["embedding"], keepdims=0),
        helper.make_node("Identity", ["embedding"], ["severity_vector"]),
        helper.make_node("Identity", ["embedding"], ["reference_vector"]),
        helper.make_node("Reshape", ["embedding", "one_place"], ["severity_map_vectors"]),
    ]
    constants = {"places": np.array([1, 2], np.int64), "one_place": np.array([-1, 1, 1, 3], np.int64)}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *((1, 1) if "map" in name else ()), 3])
            for name in EncoderOutputs._fields
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def test_a_graph_without_fault_passes(tmp_path: Path) -> None:
    onnx.save(minimal_encoder(), tmp_path / "encoder.onnx")
    check_graph(tmp_path / "encoder.onnx")


def freeze(index: int) -> Callable[[onnx.ModelProto], None]:
    def damage(model: onnx.ModelProto) -> None:
        (*model.graph.input, *model.graph.output)[index].type.tensor_type.shape.dim[0].dim_value = 2

    return damage


def free_height(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.node[2].output[0] = model.graph.output[1].name = "severity"


def drop_output(model: onnx.ModelProto) -> None:
    del model.graph.output[2]


def raise_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 20


def use_pixels_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]))


def take_floats(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def break_edge(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (freeze(0), r"expected pixels \[batch, fixed sizes\], found \[2, 8, 8, 3\]"),
        (freeze(2), r"expected severity_vector \[batch, fixed sizes\], found \[2, 3\]"),
        (free_height, "found .'batch', 'height', 8, 3."),
        (rename_output, "found embedding, severity, reference_vector"),
        (drop_output, "found embedding, severity_vector, severity_map_vectors"),
        (raise_opset, "expected opset 18"),
        (use_pixels_twice, r"expected Cast alone to take pixels, found \['Cast', 'Transpose'\]"),
        (take_floats, "expected uint8 inputs"),
        (break_edge, "expected encoder.onnx to be a valid ONNX graph"),
    ],
)
def test_a_fault_is_named(damage: Callable[[onnx.ModelProto], None], said: str, tmp_path: Path) -> None:
    model = minimal_encoder()
    damage(model)
    onnx.save(model, tmp_path / "encoder.onnx")
    with pytest.raises(ParityError, match=said):
        check_graph(tmp_path / "encoder.onnx")


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    model = minimal_encoder()
    path = tmp_path / "encoder.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ParityError, match="found places outside the file"):
        check_graph(path)


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"\xff\xfenot a graph")
    with pytest.raises(ParityError, match="valid ONNX graph"):
        check_graph(tmp_path / "encoder.onnx")


@pytest.mark.parametrize("encoder", ["test_efficientnet"])
def test_what_the_exporter_writes_of_other_encoders_is_what_the_runtime_takes(
    encoder: str, random_network: Callable[[str], SemiSeNetwork], tmp_path: Path
) -> None:
    written = export_graphs(random_network(encoder), InputSpec(height=64, width=64), tmp_path)
    assert written == ("encoder.onnx", "classifier.onnx", "unet.onnx")


def test_an_operator_that_no_runtime_would_take_is_refused_at_the_export(tmp_path: Path) -> None:
    model = minimal_encoder()
    model.graph.node.insert(1, helper.make_node("Erf", ["floats"], ["unused"]))
    onnx.save(model, tmp_path / "encoder.onnx")
    with pytest.raises(ParityError, match=r"operator 'Erf'.*choose another encoder"):
        check_graph(tmp_path / "encoder.onnx")
