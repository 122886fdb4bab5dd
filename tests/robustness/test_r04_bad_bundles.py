"""R4: sixty bad bundles. Each is refused in one sentence and under a second, and no file outside of it is opened."""

import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from semise_sdk.bundle import MANIFEST, Bundle, pack, sign, write_manifest
from semise_sdk.bundle.integrity import hash_file, list_files
from semise_sdk.bundle.signing import SIGNATURE, new_key

REFERENCES = "references.safetensors"
# In the loop's way: an endless one, and one of each kind of graph within a graph.
LOOP = """y = Loop<body = b (int64 i, bool go, float[N,3] a) => (bool on, float[N,3] c)
    { on = Identity(go)  c = Identity(a) }>(many, yes, embedding)"""


def rehash(folder: Path) -> None:
    """Writes the hashes of what stands in a folder into its manifest, as whoever forges a bundle does."""
    manifest = json.loads((folder / MANIFEST).read_text())
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    manifest["files"] = {name: hash_file(folder / name) for name in names if name not in (MANIFEST, SIGNATURE)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def graph(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], None]:
    """Returns what changes the encoder's graph and vouches for it in the manifest."""

    def damage(folder: Path) -> None:
        model = onnx.load(folder / "encoder.onnx", load_external_data=False)
        change(model)
        (folder / "encoder.onnx").write_bytes(model.SerializeToString())
        rehash(folder)

    return damage


def node(operator: str, *, constants: dict[str, np.ndarray] | None = None, **attributes) -> Callable[[Path], None]:
    def change(model: onnx.ModelProto) -> None:
        read = list(constants or {})
        model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in (constants or {}).items())
        model.graph.node.append(helper.make_node(operator, ["embedding", *read], ["extra"], **attributes))

    return graph(change)


def outside(location: str) -> Callable[[Path], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = TensorProto(name="secret", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", "0"), ("length", "16")):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)

    return graph(change)


def loop(model: onnx.ModelProto) -> None:
    text = (
        """<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] embedding) => (float[N,3] y)
        <int64 many = {9000000000}, bool yes = {1}> {"""
        + LOOP
        + "}"
    )
    other = onnx.parser.parse_model(text)
    model.graph.node.extend(other.graph.node)
    model.graph.initializer.extend(other.graph.initializer)


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("own", "f", ["a"], ["b"], [], [helper.make_opsetid("", 18)]))


def sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))


def orphan_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="bomb", data_type=1, dims=[1 << 40]))


def prepend_mark(folder: Path) -> None:
    content = (folder / "encoder.onnx").read_bytes()
    (folder / "encoder.onnx").write_bytes(content[:2] + b"\x12\x04ORTM" + content[2:])
    rehash(folder)


def manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = json.loads((folder / MANIFEST).read_text())
        change(data)
        (folder / MANIFEST).write_text(json.dumps(data))

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def bank(**tensors: np.ndarray) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        save_file(tensors, folder / REFERENCES)
        rehash(folder)

    return damage


def references(content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / REFERENCES).write_bytes(content((folder / REFERENCES).read_bytes()))
        rehash(folder)

    return damage


def replace_by(make: Callable[[Path, Path], object], name: str = "encoder.onnx") -> Callable[[Path], None]:
    """Returns what puts something else in a file's place, made of the file moved out of the bundle."""

    def damage(folder: Path) -> None:
        moved = folder.parent / "outside" / name
        moved.parent.mkdir()
        shutil.move(folder / name, moved)
        make(folder / name, moved)

    return damage


def fake_signature(folder: Path) -> None:
    new_key(folder.parent / "attacker")
    sign(folder, folder.parent / "attacker")


def other_signature(folder: Path) -> None:
    sign(folder, folder.parent / "key")
    manifest(lambda data: data.update(name="better"))(folder)


def archive(change: Callable[[Path, Path], None]) -> Callable[[Path], Path]:
    """Returns what packs a bundle and changes the archive."""

    def damage(folder: Path) -> Path:
        target = folder.parent / "bundle.semise"
        pack(folder, target)
        change(target, folder)
        return target

    return damage


def member(name: str, *, mode: int = stat.S_IFREG | 0o644, content: bytes = b"{}") -> Callable[[Path], Path]:
    def change(target: Path, _folder: Path) -> None:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        with zipfile.ZipFile(target, "a") as packed:
            packed.writestr(info, content)

    return archive(change)


def bomb(target: Path, _folder: Path) -> None:
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.json", b"0" * (64 << 20))


def cut(target: Path, _folder: Path) -> None:
    target.write_bytes(target.read_bytes()[:-40])


WIDE = np.ones((2, 3), np.float32)
BAD: dict[str, Callable[[Path], Path | None]] = {
    # what a hash or the list of files finds
    "wrong hash": lambda f: (f / "encoder.onnx").write_bytes((f / "encoder.onnx").read_bytes() + b"x") and None,
    "missing graph": lambda f: (f / "unet.onnx").unlink(),
    "missing manifest": lambda f: (f / MANIFEST).unlink(),
    "extra file": write("extra.json", b"{}"),
    "pickle": write("weights.pkl", b"\x80\x04."),
    "torch file": write("weights.pt", b"PK"),
    "engine": write("encoder.engine", b"x"),
    "python file": write("hook.py", b"raise SystemExit"),
    "shared library": write("custom_op.so", b"\x7fELF"),
    "unicode name": write("\uff45ncoder.json", b"{}"),
    "bidi name": write("\u202ejson.exe.json", b"{}"),
    "newline name": write("a\nb.json", b"{}"),
    "hidden file": write(".hidden.json", b"{}"),
    # what a folder can hold in a file's place
    "symlink to itself moved outside": replace_by(lambda here, there: here.symlink_to(there)),
    "symlink to /etc/passwd": replace_by(lambda here, _: here.symlink_to("/etc/passwd")),
    "linked folder": lambda f: (f / "golden").symlink_to("/etc"),
    "symlink to /dev/zero": replace_by(lambda here, _: here.symlink_to("/dev/zero")),
    "named pipe": replace_by(lambda here, _: os.mkfifo(here)),
    "linked manifest": replace_by(lambda here, there: here.symlink_to(there), MANIFEST),
    "hard link with other content": replace_by(lambda here, there: (there.write_bytes(b"x"), os.link(there, here))),
    # archives
    "zip slip": member("../evil.json"),
    "deep zip slip": member("golden/../../evil.json"),
    "absolute member": member("/etc/evil.json"),
    "windows member": member("C:\\evil.json"),
    "symlink member": member("link.json", mode=stat.S_IFLNK | 0o777, content=b"/etc/passwd"),
    "device member": member("device.json", mode=stat.S_IFCHR | 0o666),
    "member twice": member("ENCODER.onnx"),
    "zip bomb": archive(bomb),
    "cut archive": archive(cut),
    "no archive": archive(lambda target, _: target.write_bytes(b"not a zip")),
    # manifests
    "older schema": manifest(lambda data: data.update(schema=0)),
    "newer schema": manifest(lambda data: data.update(schema=2)),
    "another format": manifest(lambda data: data.update(format="zip")),
    "unknown key": manifest(lambda data: data.update(plugin="x")),
    "file outside": manifest(lambda data: data["files"].update({"../../etc/passwd": "0" * 64})),
    "graph outside": manifest(lambda data: data["graphs"]["encoder"].update(file="/etc/passwd")),
    "deep manifest": write(MANIFEST, b"[" * 200_000),
    "huge manifest": write(MANIFEST, b" " * (20 << 20)),
    "key twice": lambda f: (f / MANIFEST).write_text('{"schema": 1,' + (f / MANIFEST).read_text()[1:]) and None,
    "remote encoder": manifest(lambda data: data["model"]["network"].update(encoder="hf-hub:evil/model")),
    "giant layers": manifest(lambda data: data["model"]["network"].update(classifier_hidden=[10**9, 10**9])),
    "control characters": manifest(lambda data: data.update(name="\x1b]0;owned\x07")),
    "other interface": manifest(lambda data: data["graphs"]["encoder"]["outputs"].pop("embedding")),
    "other canvas": manifest(lambda data: data["model"]["spec"].update(height=4096, width=4096)),
    # graphs whose hash is right
    "loop": graph(loop),
    "custom domain": node("Relu", domain="com.evil"),
    "four terabytes": node("ConstantOfShape"),
    "four terabytes of weights": graph(orphan_weights),
    "resize bomb": node("Pad", constants={"pads": np.array([0, 0, 0, 10**12])}),
    "function": graph(function),
    "sparse data": graph(sparse),
    "session options": graph(lambda model: model.metadata_props.add(key="ort_config", value="{}")),
    "external data": outside("secret.json"),
    "external data above": outside("../outside/secret"),
    "external data of the system": outside("/etc/passwd"),
    "external data in memory": outside("*/_ORT_MEM_ADDR_/*"),
    "renamed input": graph(lambda model: setattr(model.graph.input[0], "name", "image")),
    "float input": graph(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 1)),
    "old operators": graph(lambda model: setattr(model.opset_import[0], "version", 7)),
    "onnx runtime's own format": prepend_mark,
    # references and signatures
    "pickle as safetensors": references(lambda _: b"\x80\x04\x95\x10\x00\x00\x00" + b"." * 100),
    "header of 100 MB": references(lambda content: (100 << 20).to_bytes(8, "little") + content[8:]),
    "header beyond the file": references(lambda content: (1 << 62).to_bytes(8, "little") + content[8:]),
    "cut safetensors": references(lambda content: content[:-3]),
    "references of NaN": bank(vectors=WIDE * np.nan),
    "references of another width": bank(vectors=np.ones((2, 7), np.float32)),
    "doubles as references": bank(vectors=WIDE.astype(np.float64)),
    "two tensors": bank(vectors=WIDE, more=WIDE),
    "unsigned": lambda f: (f / SIGNATURE).unlink(missing_ok=True),
    "signed by another": fake_signature,
    "signature of another manifest": other_signature,
    "damaged signature": write(SIGNATURE, b'{"format": "semise-signature"}'),
}  # fmt: skip
NEEDS_KEY = ("unsigned", "signed by another", "signature of another manifest", "damaged signature")
IN_USE = ("external data", "external data above")  # their files exist, so that a reader would succeed

# Opens each bundle and uses all of it, under a hook that notes every file opened outside of the bundle once the
# packages are loaded; /proc and /sys tell an engine about the machine.
CHILD = textwrap.dedent("""
    import json, os, sys, tempfile, time
    import numpy as np
    import onnxruntime
    from semise_sdk.bundle import Bundle
    from semise_sdk.errors import SemiseError
    from semise_sdk.predictor import Predictor

    image, allowed, opened = np.full((20, 20, 3), 90, np.uint8), [], []

    def hook(event, arguments):
        if event == "open" and allowed and isinstance(arguments[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            if not path.startswith((*allowed, "/proc/", "/sys/", sys.prefix, sys.base_prefix, *sys.path[1:])):
                opened.append(path)

    def use(path, key):
        with Predictor.open(path, backend="onnxruntime", public_key=key) as predictor:
            answers = predictor.analyze([image])
            predictor.rank([image])
            return answers[0].status

    tempfile.gettempdir()  # tries the folder out, once
    use(sys.argv[1], None)
    sys.addaudithook(hook)
    for line in sys.stdin:
        path, key = json.loads(line)
        unpacked = os.path.join(os.environ["TMPDIR"], "semise-")
        allowed[:], opened[:] = [os.path.dirname(path) + "/bundle", unpacked, *([key] if key else [])], []
        started = time.perf_counter()
        try:
            said, kind = use(path, key), "answered"
        except SemiseError as error:
            said, kind = str(error), type(error).__name__
        except Exception as error:
            said, kind = repr(error), "unforeseen"
        print(json.dumps([kind, said, time.perf_counter() - started, opened]), flush=True)
""")


@pytest.fixture(scope="module")
def judge(write_colour_bundle, tmp_path_factory):
    """Returns what asks a process of its own to open a bundle."""
    root = tmp_path_factory.mktemp("judge")
    honest = write_colour_bundle(root / "honest")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    scratch = {**os.environ, "TMPDIR": str(root)}
    scratch.pop("SEMISE_PUBLIC_KEY", None)
    with subprocess.Popen([sys.executable, "-c", CHILD, honest], text=True, env=scratch, **pipes) as child:

        def ask(path: Path, key: Path | None = None):
            child.stdin.write(json.dumps([str(path), str(key) if key else None]) + "\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        yield ask
        child.stdin.close()
        child.wait(30)


def test_sixty_bad_bundles_are_refused_at_once_and_lead_nowhere(judge, write_colour_bundle, figure, tmp_path):
    slowest, wrong = 0.0, {}
    for index, (name, damage) in enumerate(BAD.items()):
        root = tmp_path / str(index)
        folder = write_colour_bundle(root / "bundle")
        (root / "outside").mkdir() if name in IN_USE else None
        public = new_key(root / "key")
        for secret in (root / "outside" / "secret", folder / "secret.json") if name in IN_USE else ():
            secret.write_bytes(b"\x00" * 16)
        path = damage(folder) or folder
        kind, said, seconds, opened = judge(path, public if name in NEEDS_KEY else None)
        slowest = max(slowest, seconds)
        if kind != "BundleError" or seconds > 1 or opened or "\n" in said:
            wrong[name] = (kind, said, seconds, opened)
    figure("bad bundles refused", f"{len(BAD) - len(wrong)} of {len(BAD)}")
    figure("slowest refusal, s", round(slowest, 3))
    figure("files opened outside of the bundle", sum(len(found[3]) for found in wrong.values()))
    assert wrong == {}
    assert len(BAD) >= 60


def test_an_honest_bundle_passes_the_same_judge(judge, write_colour_bundle, tmp_path):
    folder = write_colour_bundle(tmp_path / "bundle")
    public = new_key(tmp_path / "key")
    sign(folder, tmp_path / "key")
    for path, key in ((folder, None), (folder, public)):
        assert judge(path, key)[::3] == ["answered", []]
    # an honest file with a second name, as package managers and backups make them, is no reason to refuse
    os.link(folder / "encoder.onnx", tmp_path / "second name")
    assert judge(folder)[0] == "answered"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_never_give_a_score(value, judge, write_colour_bundle, tmp_path):
    folder = write_colour_bundle(tmp_path / "bundle")
    for name in ("encoder", "unet"):
        model = onnx.load(folder / f"{name}.onnx")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.float32), "bad"))
        first = next(node for node in model.graph.node if node.output[0] == "floats")
        first.output[0] = "finite"
        after = list(model.graph.node).index(first) + 1
        model.graph.node.insert(after, helper.make_node("Mul", ["finite", "bad"], ["floats"]))
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    opened = Bundle.open(write_colour_bundle(tmp_path / "other")).manifest
    write_manifest(folder, model=opened.model, graphs=opened.graphs)
    assert set(list_files(folder)) >= {MANIFEST}
    assert judge(folder)[:2] == ["answered", "error"]
