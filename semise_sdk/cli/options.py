"""The options that commands which run a bundle share, each said once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.cli.console import PublicKeyOption

Images = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files and folders.", show_default=False)]
Reference = Annotated[
    Path | None, typer.Option(help="Healthy image, or a folder of them; the bundle's own references by default.")
]
Columns = Annotated[str, typer.Option(help="Other headers, as image=file,group=patient.")]
Maps = Annotated[Path | None, typer.Option(help="Folder for a severity map of each image, as PNG.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Which bundle answers, what computes, and how a grade is chosen."""

    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle; $SEMISE_BUNDLE, else the project's newest by default.", show_default=False),
    ] = None
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or pytorch; see semise doctor.")] = "auto"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; tensorrt, tensorrt_rtx with onnxruntime.")] = (
        "auto"
    )
    precision: Annotated[str, typer.Option(help="One that the bundle carries; see semise info.")] = "fp32"
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per engine run; what serves the backend by default.")
    ] = None
    threads: Annotated[int | None, typer.Option(min=1, help="Cores for the engine; all by default.")] = None
    isolate: Annotated[
        bool, typer.Option("--isolate/--no-isolate", help="Decode files in processes of their own, as untrusted ones.")
    ] = True
    public_key: PublicKeyOption = None
    decode: Annotated[
        str, typer.Option(help="argmax: the most probable grade; expected-maee: that of least expected exp(|error|).")
    ] = "argmax"
