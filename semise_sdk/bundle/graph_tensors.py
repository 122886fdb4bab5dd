"""What the graphs of a model take and give: the runtime counts on these names, types and shapes."""

from semise_sdk.bundle.manifest import GraphEntry, TensorSpec
from semise_sdk.errors import BundleError
from semise_sdk.spec import ModelInfo

Tensors = dict[str, TensorSpec]


def expected_tensors(model: ModelInfo, name: str) -> tuple[Tensors, Tensors]:
    """Returns the inputs and the outputs of a model's graph; a name in a shape is a side that its manifest tells.

    Args:
        model: The model.
        name: ``encoder``, ``classifier`` or ``unet``.
    """
    spec, network = model.spec, model.network
    if name == "classifier":
        return (
            {"embedding": TensorSpec("float32", ("N", network.feature_dim))},
            {"logits": TensorSpec("float32", ("N", network.classes))},
        )
    outputs = {
        "embedding": TensorSpec("float32", ("N", network.feature_dim)),
        "severity_vector": TensorSpec("float32", ("N", network.vector_dim)),
        "reference_vector": TensorSpec("float32", ("N", network.vector_dim)),
        "severity_map_vectors": TensorSpec("float32", ("N", "h", "w", network.vector_dim)),
    }
    if name == "unet":
        outputs = {"mask_logits": TensorSpec("float32", ("N", spec.height, spec.width)), **outputs}
    return {"pixels": TensorSpec("uint8", ("N", spec.height, spec.width, 3))}, outputs


def check_interface(model: ModelInfo, name: str, entry: GraphEntry) -> None:
    """Refuses a graph of the manifest that takes or gives something else than the model's description says.

    Raises:
        BundleError: a name, a type or a side differs, or any side but the number of images is free.
    """
    inputs, outputs = expected_tensors(model, name)
    for kind, expected, found in (("inputs", inputs, entry.inputs), ("outputs", outputs, entry.outputs)):
        if set(expected) != set(found):
            raise BundleError(
                f"expected {kind} {', '.join(expected)} of {entry.file}, found {', '.join(found) or 'none'}: "
                "export the bundle again"
            )
        for tensor, wanted in expected.items():
            if not _agrees(found[tensor], wanted):
                raise BundleError(
                    f"expected {tensor} of {entry.file} as {wanted.dtype} {list(wanted.shape)}, found "
                    f"{found[tensor].dtype} {list(found[tensor].shape)}: export the bundle again"
                )


def _agrees(found: TensorSpec, wanted: TensorSpec) -> bool:
    if found.dtype != wanted.dtype or len(found.shape) != len(wanted.shape) or not isinstance(found.shape[0], str):
        return False
    return all(
        isinstance(side, int) and side > 0 and (side == fixed or isinstance(fixed, str))
        for side, fixed in zip(found.shape[1:], wanted.shape[1:], strict=True)
    )
