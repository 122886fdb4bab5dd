"""The options that commands which run a bundle share, each said once."""

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files and folders.", show_default=False)]
Reference = Annotated[
    Path | None, typer.Option(help="Healthy image, or a folder of them; the bundle's own references by default.")
]
BundleOption = Annotated[
    Path | None, typer.Option(help="Bundle; $SEMISE_BUNDLE, else the project's newest by default.", show_default=False)
]
Backend = Annotated[str, typer.Option(help="auto, onnxruntime, openvino or pytorch; see semise doctor.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; tensorrt, tensorrt_rtx with onnxruntime.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="One that the bundle carries; see semise info.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images per engine run; what serves the backend by default.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Cores for the engine; all by default.")]
IsolateOption = Annotated[
    bool, typer.Option("--isolate/--no-isolate", help="Decode files in processes of their own, as untrusted ones.")
]
Out = Annotated[Path | None, typer.Option(help="File for the results; standard output by default.")]
LayoutOption = Annotated[
    str | None, typer.Option("--format", help="csv, json or jsonl; by the suffix of --out by default.")
]
Decode = Annotated[
    str, typer.Option(help="argmax: the most probable grade; expected-maee: that of least expected exp(|error|).")
]
Maps = Annotated[Path | None, typer.Option(help="Folder for a severity map of each image, as PNG.")]
