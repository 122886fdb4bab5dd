import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from semise_sdk.cli.app import app, run

VARIABLE = "SEMISE_PUBLIC_KEY"


@pytest.fixture
def project(write_colour_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    write_colour_bundle(tmp_path / "bundle")
    Image.new("RGB", (20, 20), (200, 0, 0)).save("red.png")
    assert run(["keygen", "hospital"]) == 0
    assert run(["keygen", "other", "--quiet"]) == 0
    return tmp_path


RANK = ["rank", "red.png", "--bundle", "bundle", "--backend", "onnxruntime", "--quiet"]


def test_a_key_is_made_a_bundle_signed_and_its_ranking_allowed(project, capsys, monkeypatch):
    assert run([*RANK, "--public-key", "hospital.pub"]) == 2
    assert "found no signature.json: semise sign it" in capsys.readouterr().err
    assert run(["sign", "bundle", "--key", "hospital"]) == 0
    assert "signature of ed25519:" in capsys.readouterr().err
    assert run([*RANK, "--public-key", "hospital.pub"]) == 0
    assert "red.png" in capsys.readouterr().out
    monkeypatch.setenv(VARIABLE, str(project / "other.pub"))
    assert run(RANK) == 2
    assert "found a signature that names ed25519:" in capsys.readouterr().err


def test_every_command_that_opens_a_bundle_requires_the_key_of_the_environment(project, capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(project / "hospital.pub"))
    commands = [[name, *RANK[1:]] for name in ("rank", "classify", "segment", "analyze", "embed")]
    commands += [["info", "bundle"], ["verify", "bundle"], ["evaluate", "bundle"]]
    for command in commands:
        assert run(command) == 2, command
        assert "found no signature.json" in capsys.readouterr().err, command


def test_a_benchmark_requires_the_key_that_is_named_in_every_process(project, capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(project / "other.pub"))
    assert run(["sign", "bundle", "--key", "hospital", "--quiet"]) == 0
    quick = ["--backend", "onnxruntime", "--device", "cpu", "--batch", "1", "--seconds", "0", "--quiet"]
    assert run(["bench", "bundle", *quick]) == 2
    capsys.readouterr()
    assert run(["bench", "bundle", *quick, "--json", "--public-key", "hospital.pub"]) == 0
    assert [row["reason"] for row in json.loads(capsys.readouterr().out)["rows"]] == [""]


def test_a_benchmark_and_the_check_of_a_run_require_the_key_that_is_named(project, capsys):
    assert run([*RANK, "--run", "run"]) == 0
    (project / "grades.csv").write_text("image,severity\nred.png,blue\n")
    capsys.readouterr()
    commands = (["bench", "bundle"], ["bench", "bundle", "grades.csv"], ["verify-run", "run", "--bundle", "bundle"])
    for command in commands:
        assert run([*command, "--public-key", "hospital.pub"]) == 2, command
        assert "found no signature.json" in capsys.readouterr().err, command
    assert run(["sign", "bundle", "--key", "hospital", "--quiet"]) == 0
    assert run(["verify-run", "run", "--bundle", "bundle", "--public-key", "hospital.pub"]) == 0


def test_info_says_what_is_known_of_the_signature(project, capsys):
    run(["sign", "bundle", "--key", "hospital", "--quiet"])
    capsys.readouterr()
    for options, said in ([], "not checked"), (["--public-key", "hospital.pub"], "of ed25519:"):
        assert run(["info", "bundle", "--json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["signature"].startswith(said)


def test_a_passphrase_is_asked_for(project):
    runner = CliRunner()
    made = runner.invoke(app, ["keygen", "locked", "--passphrase"], input="secret\nsecret\n")
    assert made.exit_code == 0
    assert b"ENCRYPTED" in (project / "locked").read_bytes()
    assert runner.invoke(app, ["sign", "bundle", "--key", "locked", "--passphrase"], input="secret\n").exit_code == 0
    assert isinstance(
        runner.invoke(app, ["sign", "bundle", "--key", "locked", "--passphrase"], input="other\n").exception, Exception
    )


def test_a_key_without_its_public_half_signs_too(project, capsys):
    (project / "hospital.pub").rename(project / "elsewhere.pub")
    assert run(["sign", "bundle", "--key", "hospital"]) == 0
    assert "signed: bundle" in capsys.readouterr().err
    assert run([*RANK, "--public-key", "elsewhere.pub"]) == 0


def test_info_shows_whatever_stands_in_a_manifest(project, capsys):
    """Its words go to a terminal: markup stays text, and figures that are missing are no internal error."""
    path = project / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(name="[/bold]", parity=[{}, {"backend": "[/red]\x1b[31m", "passed": 1}], provenance={"[/x]": []})
    path.write_text(json.dumps(manifest))
    assert run(["info", "bundle"]) == 0
    out = capsys.readouterr().out
    assert "[/bold]" in out
    assert "\x1b[31m" not in out


def test_a_run_folder_is_refused_where_a_key_is_named(tiny_run, project, capsys):
    assert run(["info", str(tiny_run), "--public-key", "hospital.pub"]) == 2
    said = capsys.readouterr().err
    assert f"expected a bundle with --public-key, found run folder {tiny_run}: semise export and semise sign it" in said
