"""``semise keygen`` and ``semise sign``: who made a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from semise_sdk.bundle import Bundle, sign
from semise_sdk.bundle.signing import new_key
from semise_sdk.cli.console import QuietOption, say
from semise_sdk.errors import ConfigError

Passphrase = Annotated[bool, typer.Option("--passphrase", help="Ask for the private key's passphrase.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("keygen")(keygen)
    app.command("sign")(sign_bundle)


def keygen(
    key: Annotated[Path, typer.Argument(help="File of the new private key; the public one is named FILE.pub.")],
    passphrase: Passphrase = False,
    quiet: QuietOption = False,
) -> None:
    """Makes an Ed25519 key pair: the private key signs bundles, the public one goes to those who run them."""
    public = new_key(key, passphrase=_asked(confirm=True) if passphrase else None)
    say(f"private key: {key}, keep it where bundles are made; public key: {public}", quiet=quiet)
    say(f"next: semise sign BUNDLE --key {key}; where it runs, SEMISE_PUBLIC_KEY={public}", quiet=quiet)


def sign_bundle(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or a .semise file; signed in its place.")],
    key: Annotated[Path, typer.Option(help="Private key of semise keygen.", show_default=False)],
    passphrase: Passphrase = False,
    quiet: QuietOption = False,
) -> None:
    """Signs a bundle: where a public key is required, no other bundle is opened."""
    sign(bundle, key, passphrase=_asked(confirm=False) if passphrase else None)
    public = key.with_name(key.name + ".pub")
    if not public.is_file():
        say(f"signed: {bundle}", quiet=quiet)
        return
    with Bundle.open(bundle, public_key=public) as opened:
        say(f"signed: {bundle}, signature {opened.signature}", quiet=quiet)


def _asked(*, confirm: bool) -> bytes:
    given = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
    if not given:
        raise ConfigError("expected a passphrase, found nothing: leave --passphrase out for a key without one")
    return given.encode()
