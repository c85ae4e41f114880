"""`syncd receipt`: evidence of a release that outlives the record, and its verification without the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.errors import Invalid

if TYPE_CHECKING:
    from syncd.config import Config
    from syncd.trust.dsse import EnvelopeSigner, PublicKey
    from syncd.trust.receipts import VerifiedReceipt

VERIFY: Final = "verify"
KeyOption = Annotated[list[Path] | None, typer.Option("--key", help="A public key as PEM; may be repeated.")]


def receipt(
    what: Annotated[
        str, typer.Argument(metavar="RELEASE|verify", help="A release's id; or verify.", show_default=False)
    ],
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The receipt to verify.")] = None,
    key: KeyOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Print the signed receipt of a release that went live; or verify one, without the record or a configuration.

    A receipt is an in-toto statement in a DSSE envelope: files and digests, source, requester, approval, trust
    verdict, placements, what serves it since when, and what it replaced. Verification ends with 8 if no signature of
    the given keys is right.

    Example: syncd receipt r-7
    """
    if what == VERIFY:
        return _verify(file, key or [], Output(output))
    if file is not None:
        raise Invalid(f"expected a release alone, got {str(file)!r} too", hint="`syncd receipt verify FILE --key PEM`")
    from syncd.reconcile.views.receipt import statement  # noqa: PLC0415 -- beside the record
    from syncd.reconcile.views.release import parse_release  # noqa: PLC0415
    from syncd.trust.dsse import seal_envelope  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        signer = signer_of(opened.config)
        with opened.state.write() as conn:
            stated = statement(conn, opened.topology, parse_release(what), opened.state.now(conn))
        typer.echo(seal_envelope(stated, signer).decode(), nl=False)
    return Exit.OK


def signer_of(config: Config) -> EnvelopeSigner:
    """The signer of the configuration. Raises Invalid: there is none, or its key cannot be read."""
    from syncd.trust.dsse import command_signer, key_signer  # noqa: PLC0415

    settings = config.receipts
    if settings.signer and settings.public_key is not None:
        return command_signer(settings.signer, _public(settings.public_key))
    if settings.key is None:
        hint = "an unsigned receipt proves nothing: set `key` or `signer` in [receipts] of the configuration"
        raise Invalid("there is no key for receipts", hint=hint)
    return key_signer(settings.key.reveal().encode())


def read_receipt(file: Path, keys: list[Path]) -> VerifiedReceipt:
    """A receipt in a file, verified. Raises Invalid, Corrupt: as `trust.receipts.verify_receipt`."""
    from syncd.trust.receipts import verify_receipt  # noqa: PLC0415

    if not keys:
        raise Invalid("there is no public key to verify it with", hint="give the signer's key with `--key PEM`")
    return verify_receipt(_read(file), [_public(each) for each in keys])


def _verify(file: Path | None, keys: list[Path], output: Output) -> int:
    if file is None:
        raise Invalid("expected the file of a receipt", hint="`syncd receipt verify FILE --key PEM`")
    found = read_receipt(file, keys)
    text = (
        f"{found.release}: {found.model}@{found.version}, digest {found.digest.short}, {len(found.files) - 1} files; "
        "the signature is right"
    )
    output.show(dict(found.document), lambda console: console.print(text, markup=False))
    return Exit.OK


def _public(file: Path) -> PublicKey:
    from syncd.trust.dsse import read_public  # noqa: PLC0415

    pem = _read(file)
    try:
        return read_public(pem)
    except Invalid as error:
        raise Invalid(f"{file}: {error.message}", hint=error.hint) from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}") from error
